//! Maps of the loaded program, by name.

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError};

use super::operation;
use super::refused::{foreign, refused};
use crate::api::error::Error;

pub(super) fn map<M>(ebpf: &mut Ebpf, name: &str, interface: &str) -> Result<M, Error>
where
    M: TryFrom<aya::maps::Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| foreign(interface))?;
    M::try_from(map).map_err(|error| refused(interface, operation::OPEN_MAP, &error))
}

/// An array that is not accessed through aya.
pub(super) fn array(ebpf: &mut Ebpf, name: &str, interface: &str) -> Result<MapData, Error> {
    match ebpf.take_map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(foreign(interface)),
    }
}
