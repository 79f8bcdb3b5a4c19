//! A resumable, strict tokenizer. (interface; owner: json)
