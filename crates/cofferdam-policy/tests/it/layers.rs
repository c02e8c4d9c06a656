//! Which layers count: a project's only at the content that was trusted last.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cofferdam_policy::layers::LayersError;
use cofferdam_policy::{Layer, Layers, Places, ProjectState, TrustStore};

use crate::get;

const NARROW: &str = "version = 1\n[[network.allow]]\nhost = \"a.example\"\npurpose = \"p\"\n";
const WIDE: &str = "version = 1\n[[network.allow]]\nhost = \"evil.example\"\npurpose = \"p\"\n";

struct Place {
    dir: tempfile::TempDir,
    places: Places,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let project = dir.path().join("project");
        fs::create_dir_all(project.join(".cofferdam")).unwrap();
        let places = Places {
            person: dir.path().join("person.toml"),
            trust: TrustStore::at(dir.path().join("s/trust")),
            project,
        };
        Place { dir, places }
    }

    fn file(&self) -> PathBuf {
        self.places.project.join(".cofferdam/policy.toml")
    }

    fn layers(&self) -> Layers {
        Layers::read(&self.places).unwrap()
    }

    fn trust(&self) {
        let digest = self.layers().project_digest().unwrap();
        self.places.trust.trust(&self.places.project, digest).unwrap();
    }

    fn allows(&self, host: &str) -> bool {
        self.layers().policy(Layer::default()).unwrap().decide(&get(host, "/")).allowed
    }
}

#[test]
fn a_project_counts_only_at_the_content_trusted_last() {
    let place = Place::new();
    assert!(matches!(place.layers().state, ProjectState::Absent));
    fs::write(place.file(), NARROW).unwrap();
    assert!(matches!(place.layers().state, ProjectState::Untrusted));
    assert!(!place.allows("a.example"));
    assert!(place.layers().left_out().unwrap().contains("you have not trusted it"));
    place.trust();
    assert!(place.allows("a.example") && place.layers().left_out().is_none());
    fs::write(place.file(), WIDE).unwrap();
    assert!(matches!(place.layers().state, ProjectState::Changed));
    assert!(!place.allows("evil.example") && !place.allows("a.example"));
    place.trust();
    assert!(place.allows("evil.example"));
    // Back to what was trusted before: that is over.
    fs::write(place.file(), NARROW).unwrap();
    assert!(matches!(place.layers().state, ProjectState::Changed));
    // The same content elsewhere is another project's.
    let other = Place::new();
    fs::write(other.file(), WIDE).unwrap();
    let places = Places { trust: place.places.trust.clone(), ..other.places.clone() };
    assert!(matches!(Layers::read(&places).unwrap().state, ProjectState::Untrusted));
}

#[test]
fn records_are_the_persons_alone_and_broken_ones_are_no_trust() {
    let place = Place::new();
    fs::write(place.file(), NARROW).unwrap();
    place.trust();
    let directory = place.dir.path().join("s/trust");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    let record = fs::read_dir(&directory).unwrap().next().unwrap().unwrap().path();
    assert_eq!((mode(&directory), mode(&record)), (0o700, 0o600));
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    for broken in ["", "{}", "null", &fs::read_to_string(&record).unwrap().replace("project\":\"", "project\":\"/x")] {
        fs::write(&record, broken).unwrap();
        let error = Layers::read(&place.places).unwrap_err();
        assert!(
            matches!(error, LayersError::Trust(_)) && error.to_string().contains("trust the policy again"),
            "{error}"
        );
    }
}

#[test]
fn errors_in_what_counts_stop_and_in_the_rest_do_not() {
    let place = Place::new();
    fs::write(place.file(), "nonsense").unwrap();
    assert!(!place.allows("a.example"));
    fs::write(&place.places.person, format!("{NARROW}\n[limits]\n")).unwrap();
    let error = place.layers().policy(Layer::default()).unwrap_err();
    assert!(error.to_string().contains("has 1 error, so"), "{error}");
    fs::write(&place.places.person, NARROW).unwrap();
    assert!(place.allows("a.example"));
    fs::remove_file(&place.places.person).unwrap();
    fs::create_dir(&place.places.person).unwrap();
    assert!(matches!(Layers::read(&place.places), Err(LayersError::File(_))));
}
