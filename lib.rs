#![allow(dead_code)]
pub mod store {
  #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)] pub struct ETag(pub String);
  pub struct ObjectVersion { pub key:String, pub version:String, pub is_delete_marker: bool, pub size: u64, pub etag: ETag, pub modified: jiff::Timestamp }
}
#[path="/work/wt/mutual/src/replicate/mutual.rs"] pub mod mutual;
