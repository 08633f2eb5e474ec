//! `framewire completions SHELL`: what a shell needs to complete our words.
//!
//! One table of words serves all shells.

use std::ffi::OsString;

use super::{Failure, print};

/// Subcommands with their options; a word that takes a file or directory ends in `=`.
const WORDS: &[(&str, &[&str])] = &[
    (
        "run",
        &[
            "--qmp",
            "--netdev",
            "--chardev",
            "--config=",
            "--workers",
            "--cpus",
            "--poll-us",
            "--runtime-dir=",
            "--name",
            "--log",
            "--help",
        ],
    ),
    ("qmp", &["--socket=", "--runtime-dir=", "--wait-event", "--help"]),
    ("status", &["--output", "--watch", "--socket=", "--runtime-dir=", "--help"]),
    ("completions", &["bash", "fish", "zsh"]),
];

/// The text of `framewire completions --help`.
pub const HELP: &str = "\
framewire completions bash|fish|zsh: print completions for a shell

  bash   framewire completions bash > /etc/bash_completion.d/framewire
  fish   framewire completions fish > ~/.config/fish/completions/framewire.fish
  zsh    framewire completions zsh > \"${fpath[1]}/_framewire\"
";

/// Runs the subcommand with the words that follow it.
///
/// # Errors
/// If there is no such shell.
pub fn run(words: &[OsString]) -> Result<(), Failure> {
    match words.first().and_then(|word| word.to_str()) {
        None | Some("-h" | "--help") => print(HELP),
        Some(shell) => print(&script(shell)?),
    }
}

/// The script for one shell.
///
/// # Errors
/// If there is none.
pub fn script(shell: &str) -> Result<String, Failure> {
    match shell {
        "bash" => Ok(bash()),
        "fish" => Ok(fish()),
        "zsh" => Ok(format!("#compdef framewire\nautoload -U +X bashcompinit && bashcompinit\n{}", bash())),
        other => Err(Failure::new(format!("no completions for '{other}': bash, fish or zsh"))),
    }
}

fn subcommands() -> String {
    WORDS.iter().map(|(subcommand, _options)| *subcommand).collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let mut cases = String::new();
    for (subcommand, options) in WORDS {
        let words: Vec<_> = options.iter().map(|word| word.trim_end_matches('=')).collect();
        cases.push_str(&format!("    {subcommand}) words='{}' ;;\n", words.join(" ")));
    }
    let files: Vec<_> = WORDS.iter().flat_map(|(_subcommand, options)| *options).copied().collect();
    let mut files: Vec<_> = files.iter().filter_map(|word| word.strip_suffix('=')).collect();
    files.sort_unstable();
    files.dedup();
    format!(
        "_framewire() {{
  local words='{} --help --version' current=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
  case $before in
    {}) COMPREPLY=($(compgen -f -- \"$current\")); return ;;
  esac
  case ${{COMP_WORDS[1]}} in
{cases}  esac
  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))
}}
complete -F _framewire framewire
",
        subcommands(),
        files.join("|"),
    )
}

fn fish() -> String {
    let mut text = format!("complete -c framewire -f -n __fish_use_subcommand -a '{}'\n", subcommands());
    for (subcommand, options) in WORDS {
        for word in *options {
            let condition = format!("complete -c framewire -n '__fish_seen_subcommand_from {subcommand}'");
            let takes_file = if word.ends_with('=') { " -rF" } else { "" };
            text.push_str(&match word.trim_end_matches('=').strip_prefix("--") {
                Some(long) => format!("{condition} -l {long}{takes_file}\n"),
                None => format!("{condition} -f -a {word}\n"),
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_completes_subcommands_and_their_options() {
        let complete = |words: &str, count: usize| {
            let ask = format!(
                "{}\nCOMP_WORDS=({words}); COMP_CWORD={}; _framewire; echo \"${{COMPREPLY[*]}}\"",
                script("bash").unwrap(),
                count - 1,
            );
            let output = std::process::Command::new("bash").args(["-c", &ask]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        assert_eq!(complete("framewire st", 2), "status");
        assert_eq!(complete("framewire status --wa", 3), "--watch");
    }

    #[test]
    fn unknown_shell_is_refused() {
        assert!(script("csh").is_err());
    }
}
