//! Stopping loses no request.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use sidecloak::proxy::settings::{Address, Drain};

use super::passthrough::http2_client;
use super::support::{Client, Next, PATIENCE, Upstream, echo, proxy, upstream};

/// An upstream that says when a request is there and answers when told.
fn on_command() -> (Upstream, std::sync::mpsc::Receiver<()>, std::sync::mpsc::SyncSender<()>) {
    let (arrived, arrives) = sync_channel(16);
    let (go, goes) = sync_channel::<()>(16);
    let goes = Mutex::new(goes);
    let up = upstream(move |_, out| {
        arrived.send(()).unwrap();
        goes.lock().unwrap().recv().unwrap();
        out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone").unwrap();
        Next::KeepAlive
    });
    (up, arrives, go)
}

#[test]
fn a_drain_finishes_what_runs_and_closes_the_rest() {
    let (up, arrives, go) = on_command();
    let proxy = proxy(&[&up]).settings(|s| s.workers = 2).run();
    let address = proxy.tcp(0);
    let mut running = proxy.client();
    running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    arrives.recv_timeout(PATIENCE).unwrap();

    proxy.server.drain();
    assert!(!proxy.shared.health.is_ready() && proxy.shared.health.is_draining());
    // The listener is closed once a connection is refused.
    while std::net::TcpStream::connect(address).is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    go.send(()).unwrap();
    let answer = running.receive();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "done"));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    assert!(running.is_at_end());
    proxy.server.join();
}

#[test]
fn during_the_delay_new_connections_are_served() {
    let up = echo();
    let drain = Drain { delay: Duration::from_secs(3600), deadline: Duration::from_secs(7200) };
    let proxy = proxy(&[&up]).settings(|s| s.drain = drain).run();
    let mut kept = proxy.client();
    kept.get("/");
    proxy.server.drain();
    for _ in 0..5 {
        assert_eq!(proxy.client().get("/").status(), 200);
    }
    assert_eq!(kept.get("/").status(), 200, "and kept ones too");
    // A second signal ends all of it at once.
    proxy.server.stopper().signal();
    proxy.server.join();
    assert!(kept.is_at_end());
}

#[test]
fn under_load_a_drain_refuses_and_loses_nothing_until_it_closes() {
    let up = echo();
    // The load stops well within the delay.
    let drain = Drain { delay: Duration::from_secs(3), deadline: PATIENCE };
    let proxy = proxy(&[&up]).settings(|s| (s.workers, s.drain) = (2, drain)).run();
    let address = proxy.tcp(0);
    let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..6)
        .map(|i| {
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut kept = Client::tcp(address);
                while !stop.load(Ordering::SeqCst) {
                    // Some keep their connection, some open one for each request.
                    let status =
                        if i % 2 == 0 { kept.get("/").status() } else { Client::tcp(address).get("/").status() };
                    assert_eq!(status, 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let wait_for = |count| {
        while answered.load(Ordering::SeqCst) < count {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    wait_for(50);
    proxy.server.drain();
    wait_for(answered.load(Ordering::SeqCst) + 100);
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    let shared = Arc::clone(&proxy.shared);
    proxy.server.join();
    let text = shared.metrics.render();
    assert!(text.contains(r#"sidecloak_in_flight{listener="front"} 0"#), "{text}");
    assert!(text.contains(r#"sidecloak_answers_cut_total{listener="front"} 0"#), "{text}");
}

#[test]
fn a_connection_that_was_accepted_may_still_ask_once() {
    let up = echo();
    let proxy = proxy(&[&up]).run();
    let mut client = proxy.client();
    while !proxy.shared.metrics.render().contains(r#"sidecloak_worker_connections{worker="0"} 1"#) {
        std::thread::sleep(Duration::from_millis(1));
    }
    proxy.server.drain();
    while std::net::TcpStream::connect(proxy.tcp(0)).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.field("connection").as_deref()), (200, Some("close")));
    assert!(client.is_at_end());
    proxy.server.join();
}

#[test]
fn past_the_deadline_what_runs_is_cut() {
    let (up, arrives, _go) = on_command();
    let drain = Drain { delay: Duration::ZERO, deadline: Duration::from_millis(50) };
    let proxy = proxy(&[&up]).settings(|s| s.drain = drain).run();
    let mut running = proxy.client();
    running.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    arrives.recv_timeout(PATIENCE).unwrap();
    proxy.server.drain();
    proxy.server.join();
    assert!(running.is_at_end());
}

#[test]
fn a_drained_port_can_be_bound_again() {
    let up = echo();
    let first = proxy(&[&up]).run();
    let address = Address::Tcp(first.tcp(0));
    first.client().get("/");
    first.server.drain();
    first.server.join();
    let second = proxy(&[&up]).listener(|l| l.bind = vec![address]).run();
    assert_eq!(second.client().get("/").status(), 200);
}

#[tokio::test]
async fn an_http2_connection_finishes_its_streams_and_takes_no_more() {
    let (up, arrives, go) = on_command();
    let proxy = proxy(&[&up]).run();
    let mut client = http2_client(proxy.tcp(0)).await;
    let request = || http::Request::get("http://app.test/").body(Full::new(Bytes::new())).unwrap();
    let running = tokio::spawn(client.send_request(request()));
    let arrived = tokio::task::spawn_blocking(move || arrives.recv_timeout(PATIENCE));
    arrived.await.unwrap().unwrap();
    proxy.server.drain();
    while tokio::net::TcpStream::connect(proxy.tcp(0)).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    go.send(()).unwrap();
    assert_eq!(running.await.unwrap().unwrap().status(), 200);
    // GOAWAY came, so the connection is over.
    while client.ready().await.is_ok() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(client.send_request(request()).await.is_err());
    drop(client);
    tokio::task::spawn_blocking(|| proxy.server.join()).await.unwrap();
}
