mod input;
mod records;
mod rejects;
