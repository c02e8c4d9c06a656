use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use cofferdam_policy::models::money::Micro;
use cofferdam_policy::rule::RuleId;
use cofferdam_policy::{LayerKind, Per};

use super::*;
use crate::budget::ask::Used;

const DAY: u32 = 20_782;

fn budget(usd: Option<u64>, tokens: Option<u64>, requests: Option<u64>, per: Per) -> Budget {
    let id = RuleId { layer: LayerKind::Person, file: None, line: 1, name: None };
    let here = per == Per::Project;
    Budget { id, usd: usd.map(Micro), tokens, requests, per, here, unpriced: false }
}

fn requests(most: u64, per: Per) -> Budget {
    budget(None, None, Some(most), per)
}

fn run(number: u8) -> RunId {
    let mut raw = RunId::from_random(Default::default()).to_string();
    raw.pop();
    raw.push(char::from(b'a' + number));
    raw.parse().unwrap()
}

fn user(number: u8, project: &str) -> User {
    User { run: run(number), project: project.into() }
}

fn one(micro_usd: u64, tokens: u64) -> Ask {
    Ask::Reserve(Used { micro_usd, tokens, requests: 1 })
}

fn reserved(answers: &[Answer]) -> Vec<u64> {
    let number = |answer: &Answer| match answer {
        Answer::Reserved(number) => Some(*number),
        _ => None,
    };
    answers.iter().filter_map(number).collect()
}

#[test]
fn no_more_requests_pass_than_there_are_and_what_is_settled_makes_room() {
    let at = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new(at.path(), user(0, "/p"), vec![budget(Some(100), Some(1000), None, Per::Run)]);
    assert_eq!(reserved(&ledger.answer(&[one(60, 10), one(60, 10), one(40, 10)], DAY).unwrap()), [1, 2]);
    let full = ledger.answer(&[one(1, 0)], DAY).unwrap();
    let [Answer::Exhausted(exhausted)] = &full[..] else { panic!("{full:?}") };
    assert_eq!((exhausted.what, exhausted.used, exhausted.reserved, exhausted.asked), (What::Usd, 100, 100, 1));
    let used = Used { micro_usd: 10, tokens: 5, requests: 1 };
    ledger.answer(&[Ask::Settle { number: 1, used: Some(used) }, Ask::Settle { number: 1, used: None }], DAY).unwrap();
    assert_eq!(reserved(&ledger.answer(&[one(50, 10), one(1, 10)], DAY).unwrap()), [3]);
    ledger.answer(&[Ask::Settle { number: 3, used: None }], DAY).unwrap();
    assert_eq!(reserved(&ledger.answer(&[one(1, 10)], DAY).unwrap()), [] as [u64; 0], "unknown: all of it counts");
    assert_eq!(reserved(&ledger.answer(&[one(0, 976)], DAY).unwrap()), [] as [u64; 0]);
    assert_eq!(reserved(&ledger.answer(&[one(0, 975)], DAY).unwrap()), [4], "5 + 10 + 10 tokens are used");
}

#[test]
fn runs_at_the_same_time_share_what_they_share_and_a_restart_goes_on() {
    let at = tempfile::tempdir().unwrap();
    let passed = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for number in 0..6u8 {
            let (at, passed) = (at.path(), &passed);
            scope.spawn(move || {
                let mut ledger =
                    Ledger::new(at, user(number, "/p"), vec![requests(50, Per::Day), requests(40, Per::Run)]);
                for at in 0..20 {
                    let answers = ledger.answer(&[one(1, 1)], DAY).unwrap();
                    passed.fetch_add(reserved(&answers).len() as u64, Ordering::Relaxed);
                    for number in reserved(&answers) {
                        // Some die before they settle.
                        if at % 3 != 0 {
                            let used = Some(Used { requests: 1, ..Used::default() });
                            ledger.answer(&[Ask::Settle { number, used }], DAY).unwrap();
                        }
                    }
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 50);
    let mut again = Ledger::new(at.path(), user(9, "/p"), vec![requests(51, Per::Day)]);
    assert_eq!(reserved(&again.answer(&[one(1, 1), one(1, 1)], DAY).unwrap()).len(), 1);
}

#[test]
fn each_budget_counts_what_it_is_of() {
    let at = tempfile::tempdir().unwrap();
    let pass = |who: User, budgets: &[Budget], day| {
        let answers = Ledger::new(at.path(), who, budgets.to_vec()).answer(&[one(1, 1)], day).unwrap();
        reserved(&answers).len() == 1
    };
    assert!(pass(user(0, "/p"), &[], DAY) && pass(user(1, "/q"), &[], DAY));
    assert!(pass(user(1, "/q"), &[requests(2, Per::Run)], DAY), "each run has its own");
    assert!(!pass(user(1, "/q"), &[requests(2, Per::Run)], DAY));
    assert!(
        !pass(user(2, "/q"), &[requests(2, Per::Project)], DAY)
            && pass(user(2, "/p"), &[requests(2, Per::Project)], DAY)
    );
    assert!(!pass(user(3, "/x"), &[requests(4, Per::Day)], DAY) && pass(user(3, "/x"), &[requests(5, Per::Day)], DAY));
    let here = Budget { here: true, ..requests(2, Per::Day) };
    assert!(pass(user(3, "/x"), std::slice::from_ref(&here), DAY) && !pass(user(4, "/x"), &[here], DAY));
    assert!(pass(user(5, "/x"), &[requests(1, Per::Day)], DAY + 1), "a new day");
    assert!(
        !pass(user(5, "/x"), &[requests(7, Per::Month)], DAY + 1)
            && pass(user(5, "/x"), &[requests(1, Per::Month)], DAY + 40)
    );
}

#[test]
fn a_clock_that_is_set_back_reopens_nothing() {
    let at = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new(at.path(), user(0, "/p"), vec![requests(1, Per::Day)]);
    assert_eq!(reserved(&ledger.answer(&[one(1, 1)], DAY).unwrap()), [1]);
    for day in [DAY - 1, DAY - 400, 0] {
        let answers = ledger.answer(&[one(1, 1)], day).unwrap();
        assert!(matches!(&answers[..], [Answer::Exhausted(e)] if e.behind == DAY - day), "{day}");
    }
    assert_eq!(reserved(&ledger.answer(&[one(1, 1)], DAY + 1).unwrap()), [2]);
}

#[test]
fn a_torn_end_is_cut_off_and_anything_else_that_is_broken_stops_everything() {
    let at = tempfile::tempdir().unwrap();
    let path = at.path().join("ledger");
    let new = || Ledger::new(at.path(), user(0, "/p"), vec![requests(3, Per::Run)]);
    assert_eq!(reserved(&new().answer(&[one(1, 1), one(1, 1)], DAY).unwrap()).len(), 2);
    let whole = fs::read(&path).unwrap();
    let first = memchr::memchr(b'\n', &whole).unwrap() + 1;
    for cut in first..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(reserved(&new().answer(&[one(1, 1), one(1, 1), one(1, 1)], DAY).unwrap()).len(), 2, "{cut}");
    }
    for tail in [&b"\0\0\0\0\0"[..], b"\0\0}\n", b"{\"what\":\"reserve\"}\n"] {
        fs::write(&path, [&whole, tail].concat()).unwrap();
        assert_eq!(reserved(&new().answer(&[one(1, 1), one(1, 1)], DAY).unwrap()).len(), 1);
    }
    fs::write(&path, [b"no record\n", &whole[..]].concat()).unwrap();
    assert!(matches!(new().answer(&[one(1, 1)], DAY), Err(LedgerError::Broken { line: 1, .. })));
}

#[test]
fn what_cannot_be_written_is_not_promised() {
    // A full disk: every write to it fails with ENOSPC.
    let at = tempfile::tempdir().unwrap();
    let mut ledger = Ledger::new(at.path(), user(0, "/p"), vec![requests(3, Per::Run)]);
    assert_eq!(reserved(&ledger.answer(&[one(1, 1)], DAY).unwrap()), [1]);
    ledger.file.as_mut().unwrap().fill_up();
    let error = ledger.answer(&[one(1, 1)], DAY).unwrap_err().to_string();
    assert!(error.contains("No space left"), "{error}");
    assert_eq!(reserved(&ledger.answer(&[one(1, 1)], DAY).unwrap()), [2], "there is room again");
    fs::write(at.path().join("file"), "").unwrap();
    let mut nowhere = Ledger::new(&at.path().join("file"), user(0, "/p"), Vec::new());
    assert!(matches!(nowhere.answer(&[one(1, 1)], DAY), Err(LedgerError::Io { .. })));
}

#[test]
fn a_ledger_that_another_process_holds_is_waited_for_and_not_for_ever() {
    let at = tempfile::tempdir().unwrap();
    let held = file::lock(at.path()).unwrap();
    let mut ledger = Ledger::new(at.path(), user(0, "/p"), vec![requests(3, Per::Run)]);
    assert!(matches!(ledger.answer(&[one(1, 1)], DAY), Err(LedgerError::Busy(_))));
    drop(held);
    assert_eq!(reserved(&ledger.answer(&[one(1, 1)], DAY).unwrap()), [1]);
}

/// Whatever is asked, by whom and in whichever order: nothing is used beyond a budget, nothing is forgotten by a restart or by
/// rewriting the file, and what the book says is what a plain sum of the questions says.
#[test]
fn the_book_is_the_sum_of_what_was_asked() {
    let mut random = fastrand::Rng::with_seed(6);
    for round in 0..60 {
        let at = tempfile::tempdir().unwrap();
        let limit = random.u64(1..400);
        let budgets =
            vec![budget(Some(limit), None, None, Per::Day), budget(None, Some(random.u64(1..900)), None, Per::Project)];
        let mut ledgers: Vec<Ledger> = (0..3)
            .map(|n| Ledger::new(at.path(), user(n, ["/p", "/q"][usize::from(n % 2)]), budgets.clone()))
            .collect();
        let mut open: Vec<(usize, u64, u32, Used)> = Vec::new();
        let mut spent: std::collections::HashMap<u32, u64> = std::collections::HashMap::new();
        let mut day = DAY;
        for _ in 0..random.usize(1..60) {
            let who = random.usize(0..3);
            match random.u32(0..10) {
                0 => day = (day + random.u32(0..3)).saturating_sub(random.u32(0..2)),
                1 => {
                    let Ledger { user, budgets, .. } = &ledgers[who];
                    ledgers[who] = Ledger::new(at.path(), user.clone(), budgets.clone());
                }
                2 => {
                    let short: String = ledgers[who].book.records().iter().map(|r| r.line().unwrap()).collect();
                    // As if it had grown long; another one's is not up to date.
                    if ledgers[who].answer(&[], day).is_ok()
                        && ledgers[who].book.records().len() == short.lines().count()
                    {
                        file::rewrite(at.path(), &short).unwrap();
                    }
                }
                3..6 if !open.is_empty() => {
                    let (who, number, day, most) = open.swap_remove(random.usize(0..open.len()));
                    let used = random.bool().then(|| Used {
                        micro_usd: random.u64(0..=most.micro_usd),
                        tokens: random.u64(0..=most.tokens),
                        requests: 1,
                    });
                    ledgers[who].answer(&[Ask::Settle { number, used }], day).unwrap();
                    *spent.entry(day).or_default() -= used.map_or(0, |used| most.micro_usd - used.micro_usd);
                }
                _ => {
                    let most = Used { micro_usd: random.u64(0..120), tokens: random.u64(0..200), requests: 1 };
                    let answers = ledgers[who].answer(&[Ask::Reserve(most)], day).unwrap();
                    if let [Answer::Reserved(number)] = answers[..] {
                        let counted = ledgers[who].book.day();
                        assert!(counted >= day);
                        *spent.entry(counted).or_default() += most.micro_usd;
                        open.push((who, number, counted, most));
                    }
                }
            }
            assert!(spent.values().all(|spent| *spent <= limit), "round {round}: {spent:?} of {limit}");
            for ledger in &mut ledgers {
                ledger.answer(&[], 0).unwrap();
                for (day, spent) in &spent {
                    let (used, _) = ledger.book.used(&budgets[0], &ledger.user, *day);
                    assert_eq!(used.micro_usd, *spent, "round {round}");
                }
            }
        }
    }
}
