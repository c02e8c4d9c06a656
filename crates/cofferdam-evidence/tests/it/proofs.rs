use cofferdam_evidence::{Bundle, Error, Log, Proof, RecorderKey, VerifierKey, prove, verify_proof};

use crate::support::{Run, changed};

#[test]
fn every_event_of_logs_of_many_sizes_is_proven_and_nothing_else() {
    let key = RecorderKey::generate().unwrap();
    let vkey = VerifierKey::parse(key.vkey(), "test").unwrap();
    let other = VerifierKey::parse(RecorderKey::generate().unwrap().vkey(), "test").unwrap();
    let (run, mut log) = Run::begun(key);
    for size in [1u64, 2, 3, 4, 5, 7, 8, 9, 13, 16, 17] {
        while log.commitment().size < size {
            log.append(None, changed(&format!("file {size}"))).unwrap();
        }
        log.checkpoint().unwrap();
        for seq in 0..size {
            let (line, proof) = prove(&run.dir, seq).unwrap();
            let text = proof.to_string();
            let proof: Proof = text.parse().unwrap();
            let checkpoint = verify_proof(&line, &proof, &vkey).unwrap();
            assert_eq!((checkpoint.size, checkpoint.run().as_ref()), (size, Some(&run.id)));
            assert!(verify_proof(&line, &proof, &other).is_err());

            let mut changed = line.clone();
            let at = changed.len() - 3;
            changed[at] ^= 1;
            assert!(matches!(verify_proof(&changed, &proof, &vkey), Err(Error::Proof(_))));
            let elsewhere = Proof { seq: (seq + 1) % (size + 1), ..proof.clone() };
            assert!(verify_proof(&line, &elsewhere, &vkey).is_err());
            for n in 0..proof.path.len() {
                let mut bad = proof.clone();
                bad.path[n].0[7] ^= 1;
                assert!(verify_proof(&line, &bad, &vkey).is_err());
                bad.path.remove(n);
                assert!(verify_proof(&line, &bad, &vkey).is_err());
            }
        }
    }
}

#[test]
fn what_is_not_signed_or_not_what_was_signed_has_no_proof() {
    let (run, mut log) = Run::begun(RecorderKey::generate().unwrap());
    log.append(None, changed("unsigned")).unwrap();
    assert!(matches!(prove(&run.dir, 1), Err(Error::NotSigned { seq: 1, signed: 1, .. })));
    assert!(matches!(prove(&run.dir, u64::MAX), Err(Error::NotSigned { .. })));
    log.checkpoint().unwrap();
    drop(log);
    prove(&run.dir, 1).unwrap();
    let text = String::from_utf8(run.read("log.jsonl")).unwrap();
    run.write("log.jsonl", text.replace("unsigned", "Unsigned"));
    assert!(matches!(prove(&run.dir, 0), Err(Error::Contradiction { .. })));
    assert!(matches!(Log::reopen(&run.dir, run.key.clone()), Err(Error::Contradiction { .. })));
}

#[test]
fn a_bundle_is_a_proof_that_carries_its_event() {
    let run = Run::finished();
    let key = VerifierKey::parse(run.key.vkey(), "test").unwrap();
    for seq in 0..7 {
        let text = Bundle::of(&run.dir, seq).unwrap().to_string();
        let bundle: Bundle = text.parse().unwrap();
        assert_eq!(bundle, Bundle::of(&run.dir, seq).unwrap());
        let (checkpoint, event) = bundle.verify(&key).unwrap();
        assert_eq!((checkpoint.size, event.unwrap().seq), (7, seq));
        let plain: Proof = text.parse().unwrap();
        verify_proof(&bundle.line, &plain, &key).unwrap();
        for at in (0..text.len()).step_by(3) {
            let mut bad = text.clone().into_bytes();
            bad[at] ^= 1;
            let read = String::from_utf8(bad).ok().and_then(|text| text.parse::<Bundle>().ok());
            assert!(read.is_none_or(|bad| bad.verify(&key).is_err()), "{seq} {at}");
        }
        assert!(plain.to_string().parse::<Bundle>().is_err(), "without the event");
    }
}
