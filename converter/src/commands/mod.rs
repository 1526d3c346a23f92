//! One file per subcommand of `attn`.
