//! The layers as a promotion reads them.

use std::fs::File;
use std::io;

use cofferdam_core::Bytes;

use crate::layers::Layers;
use crate::promote::Contents;

impl Contents for Layers {
    fn open_new(&self, path: &Bytes) -> io::Result<File> {
        Layers::open_new(self, path).map_err(io::Error::other)
    }

    fn link_new(&self, path: &Bytes) -> io::Result<Bytes> {
        Layers::link_new(self, path).map_err(io::Error::other)
    }

    fn directory_mode(&self, path: &Bytes) -> io::Result<Option<u32>> {
        Layers::directory_mode(self, path).map_err(io::Error::other)
    }

    fn open_base(&self, path: &Bytes) -> io::Result<Option<File>> {
        Layers::open_base(self, path).map_err(io::Error::other)
    }
}
