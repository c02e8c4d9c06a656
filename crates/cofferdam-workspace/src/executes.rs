//! What the host runs later from a path, and when: reviewed data, one reason each.

use std::collections::HashMap;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Patterns in the form of gitignore(5), matched in any case, and the clause that tells a person what will run them.
/// A pattern without a slash in it matches in every directory. The executable bit of an ordinary script is not among
/// them: a list that names every script is read by nobody.
#[rustfmt::skip]
const TABLE: &[(&str, &[&str])] = &[
    ("git runs it at commit, checkout, merge or push",
        &["**/.githooks/**", "**/.husky/**", "**/githooks/**"]),
    ("the hook manager runs it at commit or push",
        &[".pre-commit-config.yaml", ".pre-commit-config.yml", ".pre-commit-hooks.yaml", "lefthook*.yml", "lefthook*.yaml",
          "lefthook*.toml", "lefthook*.json", ".lefthook*", ".lefthook/**", ".overcommit.yml", ".lintstagedrc*",
          "lint-staged.config.*", ".huskyrc*", ".simple-git-hooks.*"]),
    ("the forge runs it in CI, with the project's secrets",
        &["**/.github/workflows/**", "**/.github/actions/**", "action.yml", "action.yaml", ".gitlab-ci.yml", "**/.gitlab/ci/**",
          "**/.circleci/**", "Jenkinsfile*", "azure-pipelines*.yml", "azure-pipelines*.yaml", "**/.azure-pipelines/**", ".drone.yml", ".drone.star",
          "**/.buildkite/**", ".travis.yml", "appveyor.yml", ".appveyor.yml", "bitbucket-pipelines.yml", ".cirrus.yml", ".cirrus.star",
          "**/.woodpecker/**", ".woodpecker.yml", "**/.forgejo/workflows/**", "**/.gitea/workflows/**", ".semaphore/**",
          "cloudbuild.yaml", "buildspec.yml", "codefresh.yml", "wercker.yml", "**/.teamcity/**"]),
    ("the editor runs it when the folder is opened, or on a key",
        &["**/.vscode/tasks.json", "**/.vscode/launch.json", "**/.vscode/settings.json", "**/.vscode/extensions.json",
          "**/.vscode/mcp.json", "*.code-workspace", "**/.idea/runConfigurations/**", "**/.idea/workspace.xml", "**/.run/*.run.xml",
          "**/.idea/externalDependencies.xml", "**/.idea/watcherTasks.xml", "**/.zed/tasks.json", "**/.zed/settings.json", "**/.zed/debug.json",
          "**/.fleet/**", ".exrc", ".nvimrc", ".nvim.lua", ".vimrc", "_vimrc", ".dir-locals.el", ".dir-locals-2.el",
          "*.sublime-project", ".helix/**"]),
    ("the container tool runs it when the folder is opened in a container",
        &["**/.devcontainer/**", ".devcontainer.json"]),
    ("a container engine builds or starts it with the host's rights over it",
        &["Dockerfile", "Dockerfile.*", "*.dockerfile", "Containerfile", "docker-compose*.yml", "docker-compose*.yaml", "compose.yml", "compose.yaml",
          "docker-bake.hcl", "Vagrantfile", "Tiltfile", "skaffold.yaml"]),
    ("direnv or a dotenv loader takes it into the shell's or the program's environment",
        &[".envrc", ".env", ".env.*", ".flaskenv"]),
    ("the tool-version manager runs or installs from it when the directory is entered",
        &["mise.toml", ".mise.toml", "mise.*.toml", ".mise.*.toml", "**/.mise/**", "**/mise/config.toml", "**/.config/mise/**", ".tool-versions",
          ".rtx.toml", ".asdfrc", "devbox.json", "devenv.nix", "devenv.yaml",
          "flake.nix", "shell.nix", "default.nix", "**/.envrc.d/**"]),
    ("make and other task runners run it",
        &["Makefile", "Makefile.*", "GNUmakefile", "*.mk", "justfile", ".justfile", "*.just", "Taskfile.yml", "Taskfile.yaml", "Taskfile.dist.y*ml",
          "Rakefile", "*.rake", "SConstruct", "SConscript", "wscript", "Earthfile", "magefile.go", "tasks.py", "dodo.py", "fabfile.py",
          "noxfile.py", "tox.ini", "Procfile", "Procfile.*", "gulpfile.*", "Gruntfile.*"]),
    ("cargo runs it when building",
        &["build.rs", "**/.cargo/config", "**/.cargo/config.toml", "rust-toolchain", "rust-toolchain.toml", "**/.config/nextest.toml"]),
    ("Python runs it when installing, testing or starting",
        &["setup.py", "setup.cfg", "conftest.py", "pytest.ini", "sitecustomize.py", "usercustomize.py", "*.pth", "hatch_build.py", "pip.conf", "pip.ini",
          ".pdbrc"]),
    ("a package manager of Node takes its settings, and with them what it runs, from it",
        &[".npmrc", ".yarnrc", ".yarnrc.yml", "**/.yarn/releases/**", "**/.yarn/plugins/**", ".pnpmfile.cjs", ".pnpmfile.mjs", "pnpm-workspace.yaml",
          "bunfig.toml", ".bunfig.toml", "binding.gyp", "lerna.json", "deno.json", "deno.jsonc", ".noderc"]),
    ("the build or test tool of Node runs it",
        &["vite.config.*", "vitest.config.*", "vitest.workspace.*", "webpack.config.*", "rollup.config.*", "next.config.*", "nuxt.config.*",
          "svelte.config.*", "astro.config.*", "jest.config.*", "jest.setup.*", "babel.config.*", ".babelrc.js", ".babelrc.cjs", "postcss.config.*",
          "tailwind.config.*", "eslint.config.*", ".eslintrc.js", ".eslintrc.cjs", "prettier.config.*", ".prettierrc.js", ".prettierrc.cjs",
          "playwright.config.*", "cypress.config.*", "karma.conf.*", "metro.config.*", "esbuild.config.*", ".mocharc.js", ".mocharc.cjs",
          "commitlint.config.*", "release.config.*", "tsup.config.*", "turbo.json", "nx.json"]),
    ("Gradle, Maven, sbt or Bazel runs it when building",
        &["gradlew", "gradlew.bat", "build.gradle*", "settings.gradle*", "init.gradle*", "gradle.properties", "**/gradle/wrapper/**", "**/buildSrc/**",
          "mvnw", "mvnw.cmd", "**/.mvn/**", "pom.xml", "build.sbt", "**/project/*.sbt", "**/project/build.properties", "BUILD.bazel", "WORKSPACE",
          "WORKSPACE.bazel", "MODULE.bazel", ".bazelrc", "*.bzl", ".bazelversion"]),
    ("CMake, Meson or autotools runs it when configuring",
        &["CMakeLists.txt", "*.cmake", "CMakePresets.json", "CMakeUserPresets.json", "meson.build", "configure", "configure.ac", "configure.in",
          "autogen.sh", "bootstrap.sh"]),
    ("Ruby, PHP, Elixir, Swift or Zig runs it when installing or building",
        &["Gemfile", "*.gemspec", ".bundle/config", ".irbrc", "composer.json", "mix.exs", "Package.swift", "build.zig", "Podfile", "Fastfile",
          "Guardfile"]),
    ("msbuild runs it when building",
        &["Directory.Build.props", "Directory.Build.targets", "nuget.config"]),
    ("coding agents take it as their instructions, or run it",
        &["CLAUDE.md", "CLAUDE.local.md", "AGENTS.md", "AGENTS.override.md", "AGENT.md", "GEMINI.md", "**/.claude/**", "**/.codex/**", "**/.gemini/**", "**/.opencode/**",
          "opencode.json", "opencode.jsonc", ".aider*", "**/.cursor/**", ".cursorrules", ".cursorignore", ".windsurfrules", "**/.windsurf/**", ".clinerules",
          ".clinerules/**", "**/.roo/**", ".roorules*", "**/.amazonq/**", "**/.kiro/**", "**/.continue/**", "**/.agents/**", "**/.goose/**", ".goosehints",
          "**/.github/copilot-instructions.md", "**/.github/instructions/**", "**/.github/prompts/**", "**/.github/agents/**", "**/.github/chatmodes/**", ".mcp.json", "mcp.json",
          "**/.junie/**", "SKILL.md"]),
    ("it sets what Cofferdam lets runs in this project do",
        &["cofferdam.toml", "**/.cofferdam/policy.toml"]),
    ("git takes filters, drivers, addresses or settings from it",
        &[".gitattributes", ".gitmodules", ".gitconfig", ".lfsconfig"]),
];

/// The table, compiled.
pub(crate) struct Executes {
    patterns: Gitignore,
    clauses: HashMap<&'static str, &'static str>,
}

impl Executes {
    /// # Errors
    /// Only if the table itself holds a pattern that is none, which a test rules out.
    pub fn new() -> Result<Executes, ignore::Error> {
        let mut builder = GitignoreBuilder::new(".");
        builder.case_insensitive(true)?;
        let mut clauses = HashMap::new();
        for (clause, patterns) in TABLE {
            for pattern in *patterns {
                builder.add_line(None, pattern)?;
                clauses.insert(*pattern, *clause);
            }
        }
        Ok(Executes { patterns: builder.build()?, clauses })
    }

    /// What runs a path later; `None` for most.
    pub fn by_path(&self, path: &std::path::Path) -> Option<&'static str> {
        match self.patterns.matched(path, false) {
            ignore::Match::Ignore(glob) => self.clauses.get(glob.original()).copied(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_has_its_own_clause() {
        let executes = Executes::new().unwrap();
        let patterns: usize = TABLE.iter().map(|(_, patterns)| patterns.len()).sum();
        assert_eq!(executes.clauses.len(), patterns, "a pattern stands twice");
        assert_eq!(executes.patterns.num_ignores() as usize, patterns);
    }

    #[test]
    fn paths_that_run_later_are_named_and_ordinary_ones_are_not() {
        let executes = Executes::new().unwrap();
        for path in [
            ".husky/pre-commit",
            "packages/a/.husky/_/x",
            ".pre-commit-config.yaml",
            ".github/workflows/ci.yml",
            ".GitHub/Workflows/ci.yml",
            ".gitlab-ci.yml",
            ".vscode/tasks.json",
            "sub/.vscode/settings.json",
            ".idea/runConfigurations/a.xml",
            ".devcontainer/devcontainer.json",
            ".envrc",
            "a/b/.env",
            "Makefile",
            "makefile",
            "sub/justfile",
            "build.rs",
            "crates/x/build.rs",
            ".cargo/config.toml",
            "rust-toolchain.toml",
            "setup.py",
            "tests/conftest.py",
            "x/evil.pth",
            ".npmrc",
            "gradlew",
            "app/build.gradle.kts",
            "CMakeLists.txt",
            "CLAUDE.md",
            "docs/claude.md",
            ".claude/settings.json",
            "sub/.cursor/rules/a.mdc",
            ".mcp.json",
            "cofferdam.toml",
            ".cofferdam/policy.toml",
            "sub/.cofferdam/policy.toml",
            ".gitattributes",
            ".gitmodules",
            ".tool-versions",
        ] {
            assert!(executes.by_path(path.as_ref()).is_some(), "{path}");
        }
        for path in
            ["src/main.rs", "README.md", "docs/make.md", "x/envrc", "tests/build.rs.txt", "run.sh", "src/mod.py"]
        {
            assert_eq!(executes.by_path(path.as_ref()), None, "{path}");
        }
    }
}
