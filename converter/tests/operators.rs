//! docs/operators.md is what the code says.

#[test]
fn the_page_of_operators_is_up_to_date() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operators.md");
    let found = std::fs::read_to_string(page).unwrap();
    assert!(
        found == attn_converter::import::markdown(),
        "docs/operators.md is stale: cargo run --release -p attn-converter -- operators > docs/operators.md"
    );
}
