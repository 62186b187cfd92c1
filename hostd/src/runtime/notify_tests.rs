#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;
use tokio::{io::AsyncWriteExt, time::timeout};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);
const ID: &str = "0b9ca0de-6a9c-4a43-8d0e-2f6a4b7c9d10";

fn run(number: u32) -> RunId {
    RunId { agent: "nightly-h-01".parse().unwrap(), attempt: number }
}

fn me() -> Option<u32> {
    Some(rustix::process::getuid().as_raw())
}

fn starting() -> String {
    format!("Starting job: {ID}")
}

fn finished() -> String {
    format!("Finished job: {ID}")
}

/// Sockets, and what they say.
struct World {
    notices: std::sync::Arc<Notices>,
    said: broadcast::Receiver<RuntimeEvent>,
}

impl World {
    fn new() -> Self {
        let notices = std::sync::Arc::new(Notices::default());
        let said = notices.said.subscribe();
        Self { notices, said }
    }

    async fn next(&mut self) -> RuntimeEvent {
        timeout(LIMIT, self.said.recv()).await.expect("in time").unwrap()
    }
}

/// Until the other side has hung up.
async fn hung_up(stream: &mut TcpStream) {
    let mut byte = [0];
    let ended = timeout(LIMIT, stream.read(&mut byte)).await.expect("in time");
    assert!(!matches!(ended, Ok(1..)), "nothing is ever said there");
}

async fn closed(address: SocketAddr) {
    let refused = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(LIMIT, refused).await.expect("the port is closed");
}

#[tokio::test]
async fn a_listener_is_heard_until_its_run_ends() {
    let mut world = World::new();
    let address = world.notices.open(&run(1), me()).unwrap();
    assert_eq!(world.notices.address(&run(1)), Some(address));
    let mut listener = TcpStream::connect(address).await.unwrap();
    listener.write_all(starting().as_bytes()).await.unwrap();
    assert_eq!(world.next().await, RuntimeEvent::Sign(run(1), Sign::JobAnnounced));
    listener.write_all(finished().as_bytes()).await.unwrap();
    assert_eq!(world.next().await, RuntimeEvent::Sign(run(1), Sign::JobAnnouncedOver));
    // It updates itself: the next listener reads the same file.
    world.notices.ended(&run(1), Some(4));
    drop(listener);
    let mut listener = TcpStream::connect(address).await.unwrap();
    listener.write_all(starting().as_bytes()).await.unwrap();
    assert_eq!(world.next().await, RuntimeEvent::Sign(run(1), Sign::JobAnnounced));
    world.notices.ended(&run(1), Some(0));
    hung_up(&mut listener).await;
    closed(address).await;
    assert_eq!(world.notices.address(&run(1)), None);
}

#[tokio::test]
async fn what_is_announced_reaches_the_watch() {
    let world = World::new();
    let (events, mut told) = mpsc::channel(1);
    let passing = tokio::spawn({
        let notices = world.notices.clone();
        async move { notices.pass_on(events).await }
    });
    let address = world.notices.open(&run(1), me()).unwrap();
    // Whatever is said before somebody watches is lost: it is said until it is heard.
    let heard = loop {
        let mut listener = TcpStream::connect(address).await.unwrap();
        listener.write_all(starting().as_bytes()).await.unwrap();
        if let Ok(event) = timeout(Duration::from_millis(200), told.recv()).await {
            break event;
        }
    };
    assert_eq!(heard, Some(RuntimeEvent::Sign(run(1), Sign::JobAnnounced)));
    drop(told);
    let _late = world.notices.said.send(RuntimeEvent::EngineUp);
    timeout(LIMIT, passing).await.expect("nobody listens").unwrap();
}

#[tokio::test]
async fn another_user_is_hung_up_on() {
    let world = World::new();
    let address = world.notices.open(&run(1), me().map(|uid| uid + 1)).unwrap();
    let mut stranger = TcpStream::connect(address).await.unwrap();
    hung_up(&mut stranger).await;
    assert!(world.said.is_empty());
}

#[tokio::test]
async fn what_is_no_listener_is_hung_up_on() {
    let world = World::new();
    let address = world.notices.open(&run(1), None).unwrap();
    for words in ["GET / HTTP/1.1\r\nHost: x\r\n".repeat(9), starting().replace('-', "_")] {
        let mut stranger = TcpStream::connect(address).await.unwrap();
        stranger.write_all(words.as_bytes()).await.unwrap();
        hung_up(&mut stranger).await;
    }
    assert!(world.said.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_flood_is_a_few_words_a_second_and_many_connections_close_the_port() {
    let mut world = World::new();
    let address = world.notices.open(&run(1), None).unwrap();
    let flood = (starting() + &finished()).repeat(64);
    let mut loud = TcpStream::connect(address).await.unwrap();
    loud.write_all(flood.as_bytes()).await.unwrap();
    let began = tokio::time::Instant::now();
    // 6,400 bytes, 200 at a time, and at most two signs of each.
    let mut signs = 0;
    while timeout(3 * PAUSE, world.said.recv()).await.is_ok() {
        signs += 1;
    }
    let seconds = began.elapsed().as_secs();
    assert!(signs <= 66 && seconds >= 30, "{signs} signs in {seconds} s");
    // Four are heard, all others are hung up on at once; the last one that is counted ends it.
    let mut held = Vec::new();
    for _ in 0..AT_ONCE - 1 {
        held.push(TcpStream::connect(address).await.unwrap());
    }
    while let Ok(mut more) = TcpStream::connect(address).await {
        hung_up(&mut more).await;
        assert!(held.len() < CONNECTIONS_MAX, "the port stays open");
        held.push(more);
    }
    closed(address).await;
    // Who was heard before is heard on.
    loud.write_all(starting().as_bytes()).await.unwrap();
    assert_eq!(world.next().await, RuntimeEvent::Sign(run(1), Sign::JobAnnounced));
}

#[tokio::test]
async fn nothing_is_left_of_a_hundred_runs() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let world = World::new();
    let mut addresses = Vec::new();
    let before = descriptors();
    for number in 1..=100 {
        let address = world.notices.open(&run(number), me()).unwrap();
        let mut listener = TcpStream::connect(address).await.unwrap();
        listener.write_all(starting().as_bytes()).await.unwrap();
        addresses.push(address);
        // Some are opened a second time: the start before came to nothing.
        if number % 10 == 0 {
            addresses.push(world.notices.open(&run(number), me()).unwrap());
        }
        world.notices.close(&run(number));
    }
    for address in addresses {
        closed(address).await;
    }
    assert!(world.notices.sockets().is_empty());
    // Other tests of this process open and close as well.
    let fewer = async {
        while descriptors() > before + 50 {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, fewer).await.expect("descriptors are left open");
}

#[test]
fn the_kernels_tables_say_whose_a_socket_is() {
    let tables = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
           0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1001        0 51 1 0 100 0 0 10 0\n\
           1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1002        0 52 1 0 20 4 30 10 -1\n\
           2: 0100007F:D431 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1003        0 53 1 0 20 4 30 10 -1\n\
           3: 0100007F:D432 0100007F:1F90 06 00000000:00000000 03:00000176 00000000     0        0 0 3 0\n\
           4: 0000000000000000FFFF00000100007F:D433 0000000000000000FFFF00000100007F:1F90 01 00000000:00000000 00:00000000 00000000 1004 0 54 1\n\
        odd\n";
    let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    assert_eq!(owner(tables, at(0xd431), at(0x1f90)), Some(1003));
    assert_eq!(owner(tables, at(0xd433), at(0x1f90)), Some(1004), "one that speaks both");
    assert_eq!(owner(tables, at(0xd432), at(0x1f90)), None, "it is about to go");
    assert_eq!(owner(tables, at(0xd434), at(0x1f90)), None);
}

proptest! {
    #[test]
    fn words_are_understood_however_they_are_cut(
        said in prop::collection::vec(any::<bool>(), 0..9), cuts in prop::collection::vec(1_usize..90, 0..9),
    ) {
        let text: String = said.iter().map(|done| if *done { finished() } else { starting() }).collect();
        let mut rest = text.as_bytes();
        let (mut words, mut heard) = (Words::default(), Vec::new());
        for cut in cuts {
            let (some, then) = rest.split_at(cut.min(rest.len()));
            heard.extend(words.take(some).unwrap());
            rest = then;
        }
        heard.extend(words.take(rest).unwrap());
        let expected: Vec<Word> =
            said.iter().map(|done| if *done { Word::Finished } else { Word::Starting }).collect();
        prop_assert_eq!(heard, expected);
        prop_assert!(words.half.is_empty());
    }

    #[test]
    fn nothing_else_is_a_word(bytes in prop::collection::vec(any::<u8>(), 50..400)) {
        prop_assert_eq!(Words::default().take(&bytes), None);
    }
}
