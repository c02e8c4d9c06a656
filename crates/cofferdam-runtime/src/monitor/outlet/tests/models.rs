//! What a gateway says of exchanges with models.

use cofferdam_core::event::{ModelRequest, ModelResponse, Protocol, ToolCall, ToolResult};

use super::*;

pub(super) fn asked(request: u64) -> EventKind {
    EventKind::ModelRequest(Box::new(ModelRequest {
        request,
        connection: 1,
        host: "a.example".into(),
        provider: "anthropic".into(),
        protocol: Protocol::AnthropicMessages,
        model: "m".into(),
        asked: None,
        stream: true,
        messages: 1,
        new: 1,
        tools: vec!["Bash".into()],
        removed: Vec::new(),
        most: None,
        body: Body { bytes: 4, digest: None, kept: Some(BlobRef { digest: Digest([1; 32]), size: 1 }) },
    }))
}

pub(super) fn answered(request: u64) -> EventKind {
    let text = Some(BlobRef { digest: Digest([1; 32]), size: 1 });
    EventKind::ModelResponse(Box::new(ModelResponse { request, text, ..ModelResponse::default() }))
}

pub(super) fn called(request: u64, id: &str) -> EventKind {
    EventKind::ToolCall(ToolCall { request, id: id.into(), name: "Bash".into(), bytes: 4, arguments: None })
}

pub(super) fn told(request: u64, id: &str) -> EventKind {
    EventKind::ToolResult(ToolResult { request, id: id.into(), error: false, bytes: 0, content: None })
}

#[test]
fn exchanges_with_models_are_numbered_and_caused_by_the_monitor() {
    let (mut outlet, gateway) = outlet();
    let mut book = Counted::default();
    let with_text = Kept { text: true, ..Kept::default() };
    let mut say = |outlet: &mut Outlet, gateway: &Channel, what: EventKind, text: bool| {
        let file = memory(b"four");
        let files = if text { vec![file.as_fd()] } else { Vec::new() };
        gateway.send(&record(if text { with_text } else { Kept::default() }, what), &files).unwrap();
        outlet.hear(&mut book, owner).unwrap();
        let cause = std::mem::take(&mut book.links).pop();
        (book.kinds.values().sum::<u64>(), cause, book.last.take())
    };
    // Its first number is the gateway's; the run's is 1.
    let (first, cause, what) = say(&mut outlet, &gateway, asked(40), false);
    let Some(EventKind::ModelRequest(request)) = what else { panic!("{what:?}") };
    assert_eq!((request.request, request.body.kept, cause), (1, None, Some((70, Link::Socket))));
    let (answer, cause, what) = say(&mut outlet, &gateway, answered(40), true);
    let Some(EventKind::ModelResponse(response)) = what else { panic!("{what:?}") };
    let own = Some(BlobRef { digest: Digest([9; 32]), size: 4 });
    assert_eq!((response.request, response.text, cause), (1, own.clone(), Some((first, Link::Exchange))));
    let (call, cause, what) = say(&mut outlet, &gateway, called(40, "t1"), true);
    let Some(EventKind::ToolCall(what)) = what else { panic!("{what:?}") };
    assert_eq!((what.request, what.arguments, cause), (1, own, Some((answer, Link::Exchange))));
    let (second, _, _) = say(&mut outlet, &gateway, asked(41), false);
    let (_, cause, what) = say(&mut outlet, &gateway, told(41, "t1"), false);
    let Some(EventKind::ToolResult(result)) = what else { panic!("{what:?}") };
    assert_eq!((result.request, result.content, cause), (2, None, Some((call, Link::Id))));
    let (_, cause, _) = say(&mut outlet, &gateway, told(41, "nobody's"), false);
    assert_eq!(cause, Some((second, Link::Exchange)));
    // The gateway dies: the request that it had open ends, and the next gateway counts anew.
    drop(gateway);
    outlet.hear(&mut book, owner).unwrap();
    let Some(EventKind::ModelResponse(response)) = book.last.take() else { panic!() };
    assert_eq!((response.request, response.error.as_deref()), (2, Some("the gateway ended")));
    let (ours, theirs) = Channel::pair().unwrap();
    outlet.gateway = Some(ours);
    theirs.send(&record(Kept::default(), asked(40)), &[]).unwrap();
    outlet.hear(&mut book, owner).unwrap();
    let Some(EventKind::ModelRequest(request)) = book.last.take() else { panic!() };
    assert_eq!(request.request, 3);
}

#[test]
fn what_a_gateway_says_of_models_that_cannot_be_ends_it() {
    let turn = |request| Say::Turn { request, bytes: 4 };
    let plain = |what| record(Kept::default(), what);
    let bad: Vec<Vec<Say>> = vec![
        vec![plain(answered(1))],
        vec![plain(called(1, "t"))],
        vec![plain(told(1, "t"))],
        vec![turn(1)],
        vec![plain(asked(1)), plain(asked(1))],
        vec![plain(asked(1)), plain(called(1, "t"))],
        vec![plain(asked(1)), plain(answered(1)), plain(answered(1))],
        vec![plain(asked(1)), plain(answered(2))],
    ];
    for words in bad {
        let (mut outlet, gateway) = outlet();
        let mut book = Counted::default();
        let file = memory(b"four");
        for (at, word) in (1..).zip(&words) {
            assert!(outlet.gateway.is_some(), "{words:?} before {at}");
            let files = if matches!(word, Say::Turn { .. }) { vec![file.as_fd()] } else { Vec::new() };
            gateway.send(word, &files).unwrap();
            outlet.hear(&mut book, owner).unwrap();
        }
        assert!(outlet.gateway.is_none(), "{words:?}");
        assert_eq!(book.prompts, 0);
        // Nothing stays open: each request that was recorded has its end.
        let count = |kind: &str| book.kinds.get(kind).copied().unwrap_or(0);
        assert_eq!(count("model.request"), count("model.response"), "{words:?}");
    }
    // A turn whose text is no memory file, and one with it.
    let (pipe, _writer) = rustix::pipe::pipe().unwrap();
    for (file, wanted) in [(&pipe, 0), (&memory(&vec![b'x'; 1 << 20]), 1)] {
        let (mut outlet, gateway) = outlet();
        let mut book = Counted::default();
        gateway.send(&plain(asked(1)), &[]).unwrap();
        gateway.send(&turn(1), &[file.as_fd()]).unwrap();
        outlet.hear(&mut book, owner).unwrap();
        assert_eq!((book.prompts, outlet.gateway.is_some()), (wanted, wanted == 1));
    }
}
