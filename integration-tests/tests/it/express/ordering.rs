//! The order of commit and response.

use super::*;

/// Over a socket, a redirect included.
#[tokio::test]
async fn the_response_head_is_sent_after_the_session_is_stored() -> TestResult {
    let store = TestStore::default();
    let sessions = Sessions::builder(store.clone())
        .signing_keys(keys())
        .build()?;
    for (status, body) in [(302, "moved"), (200, "text"), (204, ""), (304, "")] {
        let app = App::start(sessions.clone(), move |request| async move {
            request.session().load().await?.insert(VALUE, &1)?;
            let response = Response::builder()
                .status(status)
                .header(header::LOCATION, "/next");
            let reply: Reply = Ok(response.body(Full::from(body)).expect("a response"));
            reply
        });
        let app = app.await;
        let gate = store.hold(Call::Create);
        let mut stream = TcpStream::connect(app.addr()).await?;
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: example.com\r\nconnection: close\r\n\r\n")
            .await?;
        gate.arrived().await;
        let mut stream = stream.into_std()?;
        let mut head = vec![];
        let early = stream.read(&mut [0; 1]).expect_err("no byte is sent");
        assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock, "{status}");
        let before = store.inner().dump().len();
        gate.open();
        let mut stream = TcpStream::from_std(stream)?;
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut head).await?;
        let head = String::from_utf8(head)?;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}"))
                && head.contains("set-cookie: __Host-id=v1."),
            "{head}"
        );
        assert_eq!(store.inner().dump().len(), before + 1);
    }
    Ok(())
}

#[tokio::test]
async fn the_session_is_stored_before_the_body_is_polled() -> TestResult {
    let site = Site::new(|b| b);
    let response = serve(&site.sessions, get(None), write).await;
    let answer = Answer {
        outcome: Outcome::default(),
        response: response.map(drop),
    };
    assert!(site.stored(&answer.pair()).await.is_some());
    Ok(())
}

#[tokio::test]
async fn sessions_work_over_http_2() -> TestResult {
    let store = TestStore::default();
    let sessions = Sessions::builder(store.clone())
        .signing_keys(keys())
        .build()?;
    let app = App::start(sessions, |request| async move {
        assert_eq!(request.version(), http::Version::HTTP_2);
        let session = request.session().load().await?;
        match request.uri().path() {
            "/logout" => session.destroy()?,
            _ => drop(session.update(VALUE, |value| value.unwrap_or(0) + 1)?),
        }
        text(session.get(VALUE)?.unwrap_or(0).to_string())
    });
    let app = app.await;
    let stream = TokioIo::new(TcpStream::connect(app.addr()).await?);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await?;
    let connection = tokio::spawn(connection);
    let mut browser = Browser::new();
    for (path, expected) in [("/", "1"), ("/", "2"), ("/logout", "0"), ("/", "1")] {
        let mut request = Request::builder()
            .uri(format!("http://{}{path}", app.addr()))
            .body(Full::<Bytes>::default())?;
        if let Some(cookies) = browser.cookie_header() {
            request
                .headers_mut()
                .insert(header::COOKIE, HeaderValue::from_str(&cookies)?);
        }
        let (head, body) = sender.send_request(request).await?.into_parts();
        browser.keep(&head.headers);
        assert_eq!(body.collect().await?.to_bytes(), expected);
    }
    connection.abort();
    use Call::{Create, Destroy, Load, Save};
    assert_eq!(
        store.take_calls(),
        [Create, Load, Save, Load, Destroy, Create]
    );
    Ok(())
}

/// A dropped handler commits nothing, and a dropped commit is all or nothing.
#[tokio::test]
async fn a_cancelled_request_leaves_the_session_intact() -> TestResult {
    let site = Site::new(|b| b);
    let cookie = site.begin().await?;
    {
        let (_handle, session) = site.open(get(&*cookie)).await?;
        session.insert(VALUE, &2)?;
        session.insert(OTHER, &2)?;
    }
    assert_eq!(site.store.take_calls(), [Call::Load]);
    assert_eq!(
        (
            site.value(&cookie, VALUE).await?,
            site.value(&cookie, OTHER).await?
        ),
        (Some(1), None)
    );

    let (handle, session) = site.open(get(&*cookie)).await?;
    session.insert(VALUE, &3)?;
    session.insert(OTHER, &3)?;
    let gate = site.store.hold(Call::Save);
    tokio::select! {
        biased;
        _ = site.finish(&handle) => panic!("held"),
        () = gate.arrived() => {}
    }
    let seen = (
        site.value(&cookie, VALUE).await?,
        site.value(&cookie, OTHER).await?,
    );
    assert_eq!(
        seen,
        (Some(1), None),
        "the commit was dropped before it had an effect"
    );
    site.visit(get(&*cookie), async |session| session.insert(VALUE, &4))
        .await?;
    assert_eq!(site.value(&cookie, VALUE).await?, Some(4));
    Ok(())
}
