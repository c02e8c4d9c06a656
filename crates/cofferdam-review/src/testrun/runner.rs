//! Commands that test, by their arguments: on a terminal, where nothing says who printed what, only their stretch counts.

use cofferdam_core::Bytes;

use super::printing::{base, program};

/// Programs that test whatever their arguments are.
const ALWAYS: &[&str] = &[
    "ava",
    "cargo-nextest",
    "ctest",
    "jest",
    "mocha",
    "nox",
    "phpunit",
    "py.test",
    "pytest",
    "rspec",
    "tox",
    "vitest",
];
/// Programs that run a program of that name: `npx jest`, `poetry run pytest`.
const CARRIERS: &[&str] =
    &["bunx", "npx", "pnpx", "poetry", "pdm", "uv", "uvx", "hatch", "pipenv", "yarn", "pnpm", "bun", "npm"];
/// Programs with subcommands or targets that test.
const WITH_SUBCOMMANDS: &[(&str, &[&str])] = &[
    ("bazel", &["test"]),
    ("bun", &["test"]),
    ("cargo", &["nextest", "t", "test"]),
    ("deno", &["test"]),
    ("go", &["test"]),
    ("gradle", &["check", "test"]),
    ("gradlew", &["check", "test"]),
    ("just", &["check", "test"]),
    ("make", &["check", "test"]),
    ("meson", &["test"]),
    ("mvn", &["test", "verify"]),
    ("ninja", &["check", "test"]),
    ("npm", &["t", "test"]),
    ("pnpm", &["t", "test"]),
    ("yarn", &["test"]),
];

/// Whether a command, by its arguments, tests.
pub fn runs_tests(argv: &[Bytes]) -> bool {
    let words: Vec<String> = argv.iter().map(|a| String::from_utf8_lossy(&a.0).into_owned()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let Some(at) = program(&words) else { return false };
    is_tester(base(words[at]), &words[at + 1..])
}

fn is_tester(name: &str, rest: &[&str]) -> bool {
    let name = name.strip_suffix(".exe").unwrap_or(name);
    if ALWAYS.contains(&name) {
        return true;
    }
    if name.starts_with("python") || name == "pypy3" {
        return of_python(rest);
    }
    if name == "node" {
        return of_node(rest);
    }
    let mut plain = rest.iter().filter(|word| !word.starts_with(['-', '+']) && !word.contains('='));
    let subcommands = WITH_SUBCOMMANDS.iter().find(|(of, _)| *of == name).map_or(&[][..], |(_, all)| *all);
    match plain.next() {
        Some(first) if subcommands.contains(first) => true,
        // `npm run test:unit`
        Some(&"run") if CARRIERS.contains(&name) => {
            plain.next().is_some_and(|next| next.starts_with("test") || ALWAYS.contains(&base(next)))
        }
        Some(&"exec" | &"dlx" | &"x") if CARRIERS.contains(&name) => {
            plain.next().is_some_and(|next| ALWAYS.contains(&base(next)))
        }
        Some(first) => CARRIERS.contains(&name) && ALWAYS.contains(&base(first)),
        None => false,
    }
}

fn of_python(rest: &[&str]) -> bool {
    let mut words = rest.iter();
    loop {
        match words.next() {
            Some(&"-m") => return words.next().is_some_and(|m| *m == "unittest" || ALWAYS.contains(m)),
            Some(&"-X" | &"-W") => drop(words.next()),
            Some(word) if word.starts_with('-') => {}
            Some(script) => return ALWAYS.contains(&base(script)),
            None => return false,
        }
    }
}

fn of_node(rest: &[&str]) -> bool {
    if rest.iter().take_while(|word| word.starts_with('-')).any(|word| *word == "--test") {
        return true;
    }
    let Some(at) = rest.iter().position(|word| !word.starts_with('-')) else { return false };
    let script = base(rest[at]);
    let script = [".js", ".mjs", ".cjs"].iter().find_map(|end| script.strip_suffix(end)).unwrap_or(script);
    is_tester(script.strip_suffix("-cli").unwrap_or(script), &rest[at + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_that_test_and_others() {
        let runs = |line: &str| runs_tests(&line.split(' ').map(Bytes::from).collect::<Vec<_>>());
        for line in [
            "cargo test",
            "/home/u/.cargo/bin/cargo +nightly test --workspace -- --nocapture",
            "cargo --offline t",
            "cargo nextest run",
            "env RUST_LOG=x timeout 60 cargo test",
            "pytest -q",
            "python3 -m pytest tests",
            "python3.12 -X dev -m unittest discover",
            "/usr/bin/python3 /usr/local/bin/pytest",
            "go test ./...",
            "node --test",
            "node /p/node_modules/.bin/jest --ci",
            "node /p/node_modules/jest/bin/jest.js",
            "node /usr/lib/node_modules/npm/bin/npm-cli.js test",
            "npm run test:unit",
            "npx vitest run",
            "pnpm exec jest",
            "uv run pytest",
            "poetry run pytest",
            "make -j2 check",
            "ctest --output-on-failure",
            "./gradlew test",
        ] {
            assert!(runs(line), "{line}");
        }
        for line in [
            "cargo build",
            "cargo run --example test-it",
            "claude -p run-the-tests",
            "node /usr/bin/claude",
            "python3 server.py test",
            "npm install jest",
            "make",
            "sh -c test",
            "git log test",
            "go build ./...",
            "",
        ] {
            assert!(!runs(line), "{line}");
        }
    }
}
