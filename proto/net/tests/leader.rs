//! Masters that do not lead against the client: it goes where they say that the leader is, and not for
//! ever.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use proffer_net::refusal::http_response;
use proffer_net::{ClientError, Endpoint, HttpClient, STALE};
use proffer_types::refusal::{Refusal, RefusalCode};

/// A master that answers every call alike.
struct Answering {
    url: String,
    asked: Arc<AtomicUsize>,
}

async fn answering(
    answer: impl Fn(Request) -> Response + Clone + Send + Sync + 'static,
) -> Answering {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let router = Router::new().fallback(move |request: Request| {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(answer(request))
    });
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(socket, router).await });
    Answering { url, asked }
}

async fn leads() -> Answering {
    answering(|request| axum::Json(request.uri().path().to_owned()).into_response()).await
}

/// One that names another address, which may be set later.
async fn standby(leader: Arc<Mutex<Option<String>>>) -> Answering {
    answering(move |_| {
        let leader = leader.lock().unwrap();
        http_response(&Refusal::not_leader(leader.as_deref()))
    })
    .await
}

fn client(addresses: &str) -> HttpClient {
    HttpClient::new(&Endpoint::parse(addresses).unwrap())
}

#[tokio::test]
async fn a_call_goes_to_the_leader_that_a_standby_names_and_the_next_one_straight_there() {
    let leader = leads().await;
    let named = Arc::new(Mutex::new(Some(leader.url.clone())));
    let first = standby(named).await;
    let client = client(&first.url);
    assert_eq!(client.get::<String>("/a").await.unwrap(), "/a");
    let body = Some(&serde_json::json!({"n": 1}));
    assert_eq!(client.json::<String>(Method::POST, "/b", body).await.unwrap(), "/b");
    assert_eq!((first.asked.load(Ordering::Relaxed), leader.asked.load(Ordering::Relaxed)), (1, 2));
}

#[tokio::test]
async fn a_standby_that_knows_no_leader_is_passed_over_for_the_other_addresses() {
    let (alone, leader) = (standby(Arc::default()).await, leads().await);
    let both = client(&format!("{},{}", alone.url, leader.url));
    assert_eq!(both.get::<String>("/a").await.unwrap(), "/a");
    let error = client(&alone.url).get::<String>("/a").await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let ClientError::Refused { refusal, .. } = error else { panic!("{error}") };
    assert_eq!(refusal.code, RefusalCode::NotLeader);
}

#[tokio::test]
async fn two_that_name_each_other_are_not_asked_for_ever() {
    let (to_first, to_second) = (Arc::default(), Arc::default());
    let first = standby(Arc::clone(&to_second)).await;
    let second = standby(Arc::clone(&to_first)).await;
    *to_first.lock().unwrap() = Some(first.url.clone());
    *to_second.lock().unwrap() = Some(second.url.clone());
    client(&first.url).get::<String>("/a").await.unwrap_err();
    let asked = first.asked.load(Ordering::Relaxed) + second.asked.load(Ordering::Relaxed);
    assert_eq!(asked, 5);
}

#[tokio::test]
async fn a_leader_that_is_gone_is_forgotten() {
    let leader = leads().await;
    let named = Arc::new(Mutex::new(Some("127.0.0.1:1".to_owned())));
    let client = client(&standby(Arc::clone(&named)).await.url);
    let error = client.get::<String>("/a").await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    *named.lock().unwrap() = Some(leader.url.clone());
    assert_eq!(client.get::<String>("/a").await.unwrap(), "/a");
}

#[tokio::test]
async fn k8_a_mark_of_what_may_be_old_is_seen_and_goes_away() {
    let is_suspended = Arc::new(Mutex::new(true));
    let suspended = Arc::clone(&is_suspended);
    let master = answering(move |_| {
        let mut answer = ([(header::CONTENT_TYPE, "application/json")], "1").into_response();
        if *suspended.lock().unwrap() {
            answer.headers_mut().insert(STALE, "suspended".parse().unwrap());
        }
        answer
    })
    .await;
    let client = client(&master.url);
    assert_eq!((client.get::<u32>("/").await.unwrap(), client.is_stale()), (1, true));
    *is_suspended.lock().unwrap() = false;
    assert_eq!((client.get::<u32>("/").await.unwrap(), client.is_stale()), (1, false));
}
