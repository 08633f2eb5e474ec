//! Guests hear of their links, and that they are to announce themselves, where the front end has a way to tell them.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use framewire_shared::handover::Message;
use framewire_shared::session::feature;
use framewire_tests::guest::{Controller, Shape};

use crate::stage::{Stage, shape, until};

const PATIENCE: Duration = Duration::from_secs(20);
const LINK_IS_UP: u8 = 1;
const ANNOUNCE: u8 = 2;
const SESSION: u64 = 11;
const FEATURES: u64 = feature::STATUS | feature::CTRL_VQ | feature::GUEST_ANNOUNCE;

/// The first guest's front end takes requests.
struct Scene {
    stage: Stage,
    requests: UnixStream,
}

impl Scene {
    fn new(name: &str) -> Scene {
        let mut stage = Stage::new(name, [shape(false); 2]);
        stage.start();
        let front = &mut stage.machines[0].front;
        front.tell(2, &(FEATURES | feature::PROTOCOL_FEATURES | feature::VERSION_1).to_le_bytes(), &[]);
        let (requests, theirs) = UnixStream::pair().unwrap();
        requests.set_read_timeout(Some(PATIENCE)).unwrap();
        front.tell(21, &[], &[theirs.as_fd()]);
        Scene { stage, requests }
    }

    fn set_link(&mut self, is_up: bool) {
        let answer = self.stage.plane.ask(Message::SetLink(SESSION, is_up));
        assert_eq!(answer, Message::LinkSet(SESSION));
        self.stage.sessions[0].serve.set_link(is_up);
    }

    #[track_caller]
    fn expect_told(&mut self) {
        let mut request = [0; 12];
        self.requests.read_exact(&mut request).unwrap();
        assert_eq!(request, [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    }

    fn status(&mut self) -> u8 {
        let room = [&[0; 4][..], &8u32.to_le_bytes(), &[0; 4], &[0; 8]].concat();
        self.stage.machines[0].front.ask(24, &room)[12 + 6]
    }
}

#[test]
fn guest_hears_of_its_link_once_for_each_change() {
    let mut scene = Scene::new("link");
    assert_eq!(scene.status(), LINK_IS_UP);
    for round in 0..3 {
        scene.set_link(false);
        scene.set_link(false);
        scene.expect_told();
        assert_eq!(scene.status(), 0);
        scene.stage.replace_plane(&format!("link-{round}"));
        assert_eq!(scene.status(), 0, "a successor knows");
        // Nobody tells a data plane that is not there.
        scene.stage.sessions[0].serve.set_link(true);
        scene.stage.replace_plane(&format!("link-again-{round}"));
        scene.expect_told();
        assert_eq!(scene.status(), LINK_IS_UP);
    }
    scene.requests.set_nonblocking(true).unwrap();
    assert!(scene.requests.read(&mut [0; 12]).is_err(), "what has not changed is not told");
    drop(scene.requests);
    let answer = scene.stage.plane.ask(Message::SetLink(SESSION, false));
    assert_eq!(answer, Message::LinkSet(SESSION), "a front end that does not read is no trouble");
}

#[test]
fn guest_is_asked_to_announce_itself_until_it_says_that_it_did() {
    let mut scene = Scene::new("announce");
    let shape = Shape::plain(false, 8);
    let announce = Message::Announce(1, [2, 0, 0, 0, 0, 1]);
    assert_eq!(scene.stage.plane.ask(announce), Message::Announced(1));
    assert_eq!(scene.status(), LINK_IS_UP, "a guest that cannot answer is not asked");
    let mut controller = Controller::new(&scene.stage.machines[0].memory, 1, shape);
    let front = &mut scene.stage.machines[0].front;
    front.start(2, (&controller.ring, 8), 0, &controller.bells);
    front.enable(2, true);
    assert_eq!(scene.stage.plane.ask(announce), Message::Announced(1));
    scene.expect_told();
    assert_eq!(scene.status(), LINK_IS_UP | ANNOUNCE);
    for wanted in [0, 1] {
        controller.ask(&[3, 0], 64, false);
        until("the command is answered", || controller.answer() == Some(wanted));
        assert_eq!(scene.status(), LINK_IS_UP);
    }
}
