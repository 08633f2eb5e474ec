//! Groups by name. `/etc/group` is read, not the C library asked: that may load programs of others into this one.

/// The number of a group that is given by name or number.
///
/// # Errors
/// In words, if there is none of that name.
pub fn find(name: &str) -> Result<u32, String> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    number_in(&groups, name).ok_or_else(|| format!("there is no group '{name}'"))
}

fn number_in(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn names_and_numbers_are_found() {
        let groups = "root:x:0:\nkvm:x:104:qemu,other\n";
        assert_eq!((number_in(groups, "kvm"), number_in(groups, "kv")), (Some(104), None));
        assert_eq!((find("7"), find("root")), (Ok(7), Ok(0)));
    }
}
