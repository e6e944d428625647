use super::crashes::explore;

#[test]
fn a_crash_at_any_operation_loses_nothing_acknowledged() {
    let explored = explore(0..200).expect("the promise holds");
    println!("{explored:?}");
    assert!(explored.crashes > 2000 && explored.second_crashes > 1000, "{explored:?}");
    assert!(explored.torn > 100 && explored.unacknowledged_kept > 100, "{explored:?}");
}
