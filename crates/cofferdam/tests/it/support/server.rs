//! A server of the host's that keeps what it hears.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// On a port of the host's loopback; ends with the test's process.
pub struct Server {
    pub port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Server {
    /// Speaks HTTP/1.1, and answers each request with `hello` and the request's own body.
    pub fn http() -> Server {
        Server::answering(|_, body| ("200 OK".to_owned(), [b"hello ", body].concat()))
    }

    /// As [`Server::http`], with status line, further fields and body made of a request's head and body.
    pub fn answering(answer: impl Fn(&str, &[u8]) -> (String, Vec<u8>) + Send + Sync + Copy + 'static) -> Server {
        Server::new(move |stream, heard| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            loop {
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().unwrap();
                    }
                    if line == "\r\n" {
                        break;
                    }
                    head.push_str(&line);
                }
                let mut body = vec![0; length];
                if reader.read_exact(&mut body).is_err() {
                    return;
                }
                heard.lock().unwrap().push(format!("{head}\r\n{}", String::from_utf8_lossy(&body)));
                let (status, answer) = answer(&head, &body);
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", answer.len());
                let mut stream = &stream;
                if stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&answer)).is_err() {
                    return;
                }
            }
        })
    }

    /// Says `welcome` first, then gives back each line that it hears.
    pub fn speaks_first() -> Server {
        Server::new(|stream, heard| {
            let mut writer = &stream;
            writer.write_all(b"welcome\n").unwrap();
            for line in BufReader::new(&stream).lines() {
                let Ok(line) = line else { return };
                heard.lock().unwrap().push(line.clone());
                if writer.write_all(format!("again {line}\n").as_bytes()).is_err() {
                    return;
                }
            }
        })
    }

    /// Answers what comes with what is made of all bytes so far. It keeps them, one byte a character, one entry a connection.
    pub fn bytes(answer: impl Fn(&[u8]) -> Vec<u8> + Send + Sync + Copy + 'static) -> Server {
        Server::new(move |stream, heard| {
            let (mut all, mut piece, mut entry) = (Vec::new(), [0; 65_536], None);
            let mut stream = &stream;
            while let Ok(length @ 1..) = stream.read(&mut piece) {
                all.extend(&piece[..length]);
                let text: String = all.iter().copied().map(char::from).collect();
                let mut heard = heard.lock().unwrap();
                match entry {
                    None => {
                        entry = Some(heard.len());
                        heard.push(text);
                    }
                    Some(entry) => heard[entry] = text,
                }
                drop(heard);
                if stream.write_all(&answer(&all)).is_err() {
                    return;
                }
            }
        })
    }

    fn new(serve: impl Fn(TcpStream, &Mutex<Vec<String>>) + Send + Sync + Copy + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&heard);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let into = Arc::clone(&into);
                std::thread::spawn(move || serve(stream.unwrap(), &into));
            }
        });
        Server { port, heard }
    }

    /// Everything that it heard, one a request or line.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// By which name it is reached from inside.
    pub fn place(&self) -> String {
        format!("host.cofferdam:{}", self.port)
    }
}
