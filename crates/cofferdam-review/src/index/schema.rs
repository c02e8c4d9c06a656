//! The tables, and opening them.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{Error, Result};

/// Raised with every change of the tables or of what is put into them.
const VERSION: i32 = 2;
/// Reads as `cofferdam`'s in `file(1)` (`PRAGMA application_id`).
const APPLICATION: i32 = 0x636f_6664;

const TABLES: &str = "
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    run TEXT NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL
);
CREATE TABLE hosts (
    run TEXT NOT NULL,
    host TEXT NOT NULL,
    port INTEGER NOT NULL,
    scheme TEXT NOT NULL,
    method TEXT NOT NULL,
    rule TEXT,
    purpose TEXT NOT NULL,
    reason TEXT NOT NULL,
    allow TEXT NOT NULL,
    program TEXT NOT NULL,
    count INTEGER NOT NULL,
    last INTEGER NOT NULL
);
CREATE INDEX hosts_of_run ON hosts (run);
CREATE VIRTUAL TABLE entries USING fts5(
    text, what UNINDEXED, run UNINDEXED, seq UNINDEXED, time UNINDEXED, command UNINDEXED,
    tokenize = 'unicode61 remove_diacritics 2'
);
";

/// An open index.
#[derive(Debug)]
pub(super) struct Database {
    pub connection: Connection,
    pub path: PathBuf,
    /// Why it was made anew, where one was there that could not be used.
    pub remade: Option<String>,
}

impl Database {
    /// Opens the index of a store, and makes it where there is none, or none that can be used.
    pub(super) fn open(path: &Path) -> Result<Database> {
        // One that another coffer is just making looks like one that is no good.
        let _lock = lock(path)?;
        Self::open_locked(path)
    }

    fn open_locked(path: &Path) -> Result<Database> {
        if !path.exists() {
            return Self::make(path, None);
        }
        match connect(path).and_then(|connection| usable(&connection).map(|why| (connection, why))) {
            Ok((connection, None)) => Ok(Database { connection, path: path.to_owned(), remade: None }),
            Ok((connection, Some(why))) => {
                drop(connection);
                Self::make(path, Some(why))
            }
            Err(e) if is_broken(&e) => Self::make(path, Some(format!("it was damaged ({e})"))),
            Err(source) => Err(Error::Index { path: path.to_owned(), source }),
        }
    }

    /// Opens it anew after it proved to be damaged; whoever came first has made it whole.
    pub(super) fn repaired(path: &Path, why: String) -> Result<Database> {
        let _lock = lock(path)?;
        match connect(path).and_then(|connection| sound(&connection).map(|sound| (connection, sound))) {
            Ok((connection, true)) => Ok(Database { connection, path: path.to_owned(), remade: Some(why) }),
            _ => Self::make(path, Some(why)),
        }
    }

    /// Throws away what is there, and makes an empty one.
    fn make(path: &Path, why: Option<String>) -> Result<Database> {
        let failed = |source| Error::Index { path: path.to_owned(), source };
        for name in files(path) {
            match std::fs::remove_file(&name) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::io("remove", name)(e)),
                _ => {}
            }
        }
        // SQLite gives its other files the mode of this one.
        File::options().write(true).create_new(true).mode(0o600).open(path).map_err(Error::io("create", path))?;
        let connection = connect(path).map_err(failed)?;
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
            ))
            .map_err(failed)?;
        Ok(Database { connection, path: path.to_owned(), remade: why })
    }

    pub(super) fn failed(&self) -> impl FnOnce(rusqlite::Error) -> Error + '_ {
        |source| Error::Index { path: self.path.clone(), source }
    }
}

fn files(path: &Path) -> [PathBuf; 4] {
    let beside = |tail: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(tail);
        PathBuf::from(name)
    };
    [path.to_owned(), beside("-wal"), beside("-shm"), beside("-journal")]
}

/// Taken while the index is opened or made; ends with the descriptor (flock(2)).
fn lock(path: &Path) -> Result<File> {
    let path = path.with_extension("lock");
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(Error::io("open", &path))?;
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|e| Error::io("lock", &path)(e.into()))?;
    Ok(file)
}

/// Whether it is of this version and whole.
fn sound(connection: &Connection) -> rusqlite::Result<bool> {
    let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(said == "ok" && usable(connection)?.is_none())
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    // It can be made anew at any time: it need not survive a power loss.
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;",
    )?;
    Ok(connection)
}

/// `None` where it is of this version; else what is wrong with it.
fn usable(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let number = |pragma: &str| connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i32>(0));
    Ok(match (number("application_id")?, number("user_version")?) {
        (APPLICATION, VERSION) => None,
        (APPLICATION, other) => Some(format!("it was of version {other}, this coffer's is {VERSION}")),
        _ => Some("it was no index of coffer's".to_owned()),
    })
}

/// Whether an error says that the file is no good, rather than that the system would not have it.
pub(super) fn is_broken(e: &rusqlite::Error) -> bool {
    match e.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => true,
        // Without a table that must be there, with a column that must not.
        Some(ErrorCode::Unknown) => true,
        Some(_) => false,
        None => !matches!(e, rusqlite::Error::SqliteFailure(..)),
    }
}
