//! REPLACED AT THE MERGE by src/http/ of the branch i5-ghttp.

use std::rc::Rc;

use tokio::net::TcpStream;

use crate::{Connection, Gateway, Place};

/// Serves a connection that speaks HTTP, with or without TLS.
#[allow(clippy::unused_async, reason = "the signature of what replaces it")]
pub(crate) async fn serve(_: Rc<Gateway>, _: TcpStream, _: Place, _: Connection) {}
