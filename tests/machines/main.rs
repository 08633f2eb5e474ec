//! Real guests at NICs that Framewire serves: Debian's kernel, its own virtio-net driver, and QEMU as the front end that
//! we did not write. What is asked here no fake guest can answer: whether a driver that others wrote keeps its
//! connections whatever happens.
//!
//! Only that things work is asked, never how fast: the guests' processors are emulated.

mod echo;
mod interfaces;
mod life;
mod migration;
mod neighbours;
mod netdevs;
mod tunnels;
