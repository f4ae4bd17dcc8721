//! Money that moves between accounts is neither made nor lost, whoever looks and whenever.
//!
//! Transfers between 1,000 accounts come through one topic. Views sum up what each account got and
//! gave, a view joins both to the accounts into balances, and a view on that sums the balances. So
//! three ways lead from one transfer to the last sum, and it is 0 exactly if all of them show the
//! same transfers. Two subscribers and a reader of all views at once look on under full load, while
//! views are paused, resumed, dropped and created, and the engine crashes and comes back with
//! another number of tasks.

use std::sync::Arc;
use std::time::Duration;

use weir_state::{MemoryStore, Store};
use weir_suite::random::Random;

#[path = "money/bank.rs"]
mod bank;
#[path = "money/watchers.rs"]
mod watchers;

use bank::Bank;
use watchers::Watchers;

/// Lives of the engine, and what is done to the views in each.
const LIVES: usize = 6;
const MOVES: usize = 7;

/// What may stop and come back; the later rest on the earlier.
const VIEWS: [&str; 5] = ["credits", "debits", "transfer_count", "balances", "total"];

#[test]
fn no_money_is_made_or_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(play(Random::seed()));
}

async fn play(seed: u64) {
    let mut random = Random::new(seed);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let bank = Bank::open(store.clone(), 1).await;
    bank.create().await;
    bank.close_in_good_order().await;

    let producer = bank::Producer::start(seed);
    let (mut epochs, mut selects) = (0, 0);
    for life in 0..LIVES {
        let bank = Bank::open(store.clone(), 1 + life % 3).await;
        let watchers = Watchers::start(&bank, producer.counted.clone());
        for _ in 0..MOVES {
            tokio::time::sleep(Duration::from_millis(random.below(120))).await;
            make_a_move(&bank, &watchers, &mut random).await;
        }
        watchers.see_something().await;
        let seen = if random.below(3) == 0 {
            let seen = watchers.stop().await;
            bank.close_in_good_order().await;
            seen
        } else {
            bank.crash().await;
            watchers.stop().await
        };
        epochs += seen.epochs;
        selects += seen.selects;
    }
    let ledger = producer.stop();

    let bank = Bank::open(store, 2).await;
    bank.has_counted(ledger.transfers).await;
    assert_eq!(bank.balances().await, ledger.balances, "the balances at the end");
    assert_eq!(bank.number("SELECT total FROM total").await, Some(0));
    bank.close_in_good_order().await;
    println!(
        "{} transfers, {epochs} epochs seen, {selects} looks at all views",
        ledger.transfers
    );
    assert!(epochs > 0 && selects > 0 && ledger.transfers > 0, "nothing was seen");
}

/// Stops a view and starts it again, at once or after a while; or drops one and creates it anew.
async fn make_a_move(bank: &Bank, watchers: &Watchers, random: &mut Random) {
    // Who reads a stopped view is told that its rows are old, and they need not agree with others.
    let alone = watchers.alone().await;
    let pause = Duration::from_millis(random.below(60));
    match random.below(5) {
        0 => {
            bank.run("DROP MATERIALIZED VIEW total").await;
            tokio::time::sleep(pause).await;
            bank.run(bank::TOTAL).await;
        }
        1 => {
            bank.run("DROP MATERIALIZED VIEW balances CASCADE").await;
            tokio::time::sleep(pause).await;
            bank.run(bank::BALANCES).await;
            bank.run(bank::TOTAL).await;
        }
        2 => {
            bank.run(bank::ANOTHER).await;
            tokio::time::sleep(pause).await;
            bank.run("DROP MATERIALIZED VIEW another").await;
        }
        _ => {
            let first = VIEWS[random.below(VIEWS.len() as u64) as usize];
            let second = VIEWS[random.below(VIEWS.len() as u64) as usize];
            bank.run(&format!("PAUSE {first}")).await;
            bank.run(&format!("PAUSE {second}")).await;
            tokio::time::sleep(pause).await;
            bank.run(&format!("RESUME {second}")).await;
            bank.run(&format!("RESUME {first}")).await;
        }
    }
    drop(alone);
}
