//! HTTP as programs and servers see it, over loopback.
