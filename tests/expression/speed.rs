//! How fast the commonest expression is. Printed in release builds; machines differ, so nothing is asserted of time.

use everstep::expression::{Program, Scope};
use serde_json::json;

#[test]
fn a_path_over_a_state_of_2_kib_copies_nothing_of_it() {
    let output = json!({"x": 42, "text": "y".repeat(400)});
    let steps =
        json!({"a": {"output": output}, "b": {"output": output}, "c": {"output": output}, "d": {"output": output}});
    let mut scope = Scope::new();
    scope.bind("steps", &steps);
    let program = Program::compile("steps.a.output.x").expect("it is valid");
    let (result, cost) = program.measure(&scope);
    assert_eq!((result, cost.steps, cost.bytes), (Ok(json!(42)), 7, 8));
    if cfg!(debug_assertions) {
        return;
    }
    const ROUNDS: u32 = 1_000_000;
    let start = std::time::Instant::now();
    for _ in 0..ROUNDS {
        std::hint::black_box(program.evaluate(std::hint::black_box(&scope)).is_ok());
    }
    println!("steps.a.output.x: {:?} each", start.elapsed() / ROUNDS);
}
