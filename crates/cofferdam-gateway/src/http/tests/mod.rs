//! HTTP as programs and servers see it, over loopback.

mod bodies;
mod differential;
mod encrypted;
mod plain;
mod smuggling;
mod whole;

use std::io;
use std::rc::Rc;
use std::time::Duration;

use cofferdam_exchange::{Interceptor, Waiting};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::fake::*;
use crate::tls::Leaves;
use crate::{Authority, Say};
