//! Sites in buckets: the same as in directories, whoever else publishes, and whatever goes wrong.

mod clients;
mod concurrency;
mod endpoint;
mod faults;
mod hostile;
mod maintenance;
mod proxy;
mod publish;
mod s3fs;
mod slash_key;
mod store;
mod tools;
