//! docs/reference/operators.md is what the code says.

#[test]
fn the_page_of_operators_is_up_to_date() {
    let page = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/reference/operators.md"
    );
    let found = std::fs::read_to_string(page).unwrap();
    assert!(
        found == attn_converter::import::markdown(),
        "docs/reference/operators.md is stale: cargo run --bin attn -- operators > docs/reference/operators.md"
    );
}
