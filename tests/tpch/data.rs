//! Rows in the manner of TPC-H's, few and drawn so that every query finds some, and batches that
//! change them: new orders, orders that are taken back, prices and balances that move, suppliers,
//! parts and customers that come and go.

use std::collections::BTreeMap;

use weir_suite::random::Random;

const REGIONS: [&str; 5] = ["AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST"];
/// The nations that queries name, and one more of each continent that they sum over.
const NATIONS: [(&str, usize); 8] = [
    ("BRAZIL", 1),
    ("CANADA", 1),
    ("CHINA", 2),
    ("FRANCE", 3),
    ("GERMANY", 3),
    ("INDIA", 2),
    ("KENYA", 0),
    ("SAUDI ARABIA", 4),
];
const TYPES: [&str; 5] = [
    "ECONOMY ANODIZED STEEL",
    "PROMO BRUSHED COPPER",
    "MEDIUM POLISHED TIN",
    "LARGE PLATED BRASS",
    "SMALL BURNISHED BRASS",
];
const NAMES: [&str; 4] = ["forest green", "forest lime", "navy green", "almond blush"];
const BRANDS: [&str; 4] = ["Brand#12", "Brand#23", "Brand#34", "Brand#45"];
const CONTAINERS: [&str; 3] = ["SM BOX", "MED BOX", "LG BOX"];
const SIZES: [u64; 5] = [3, 9, 14, 15, 49];
const SEGMENTS: [&str; 3] = ["BUILDING", "MACHINERY", "HOUSEHOLD"];
const PRIORITIES: [&str; 5] = ["1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW"];
const MODES: [&str; 4] = ["MAIL", "SHIP", "AIR", "REG AIR"];
const INSTRUCTIONS: [&str; 2] = ["DELIVER IN PERSON", "TAKE BACK RETURN"];
const CODES: [&str; 5] = ["13", "31", "23", "29", "11"];
/// Quarters in which the queries look for orders.
const SEASONS: [(u64, u64); 5] = [(1993, 7), (1993, 10), (1994, 1), (1995, 1), (1995, 8)];

const SUPPLIERS: u64 = 24;
const CUSTOMERS: u64 = 40;
const PARTS: u64 = 40;

/// What there is at a moment.
pub struct Warehouse {
    random: Random,
    next_order: u64,
    /// The lines of each order.
    orders: BTreeMap<u64, u64>,
}

impl Warehouse {
    pub fn new(seed: u64) -> Warehouse {
        Warehouse {
            random: Random::new(seed),
            next_order: 1,
            orders: BTreeMap::new(),
        }
    }

    /// Statements for what is there before the first order.
    pub fn stock(&mut self) -> Vec<String> {
        let regions = REGIONS
            .iter()
            .enumerate()
            .map(|(key, name)| format!("({key}, '{name}')"));
        let nations = NATIONS.iter().enumerate();
        let nations = nations.map(|(key, (name, region))| format!("({key}, '{name}', {region})"));
        let mut statements = vec![insert("region", regions.collect()), insert("nation", nations.collect())];
        let suppliers = (0..SUPPLIERS).map(|key| self.supplier(key)).collect();
        let customers = (0..CUSTOMERS).map(|key| self.customer(key)).collect();
        let parts = (0..PARTS).map(|key| self.part(key)).collect();
        let offers = (0..PARTS).flat_map(|part| self.offers(part)).collect();
        statements.extend([
            insert("supplier", suppliers),
            insert("customer", customers),
            insert("part", parts),
            insert("partsupp", offers),
        ]);
        statements
    }

    /// Statements that change a little of everything.
    pub fn batch(&mut self, orders: u64) -> Vec<String> {
        let mut statements = self.take_back();
        statements.extend(self.order(orders));
        let (part, supplier, customer) = (self.below(PARTS), self.below(SUPPLIERS), self.below(CUSTOMERS));
        let price = self.money(1, 400);
        statements.push(format!(
            "UPDATE partsupp SET ps_supplycost = {price} WHERE ps_partkey = {part}"
        ));
        statements.push(format!(
            "UPDATE lineitem SET l_quantity = l_quantity + 1 WHERE l_suppkey = {supplier}"
        ));
        let balance = self.balance();
        statements.push(format!(
            "UPDATE customer SET c_acctbal = {balance} WHERE c_custkey = {customer}"
        ));
        let moved = self.below(NATIONS.len() as u64);
        statements.push(format!(
            "UPDATE supplier SET s_nationkey = {moved} WHERE s_suppkey = {supplier}"
        ));
        statements.extend(self.come_and_go());
        statements
    }

    /// A supplier, a customer and a part leave, or are back as others.
    fn come_and_go(&mut self) -> Vec<String> {
        let supplier = self.below(SUPPLIERS);
        let (customer, part) = (self.below(CUSTOMERS), self.below(PARTS));
        let mut statements = vec![
            format!("DELETE FROM supplier WHERE s_suppkey = {supplier}"),
            format!("DELETE FROM customer WHERE c_custkey = {customer}"),
            format!("DELETE FROM part WHERE p_partkey = {part}"),
        ];
        if self.below(3) > 0 {
            statements.push(insert("supplier", vec![self.supplier(supplier)]));
            statements.push(insert("customer", vec![self.customer(customer)]));
            statements.push(insert("part", vec![self.part(part)]));
        }
        statements
    }

    /// Some orders are deleted with their lines, and a single line of another.
    fn take_back(&mut self) -> Vec<String> {
        let mut gone = Vec::new();
        for _ in 0..self.orders.len() / 6 {
            let Some(key) = self.some_order() else { break };
            self.orders.remove(&key);
            gone.push(key.to_string());
        }
        let mut statements = Vec::new();
        if !gone.is_empty() {
            let gone = gone.join(", ");
            statements.push(format!("DELETE FROM lineitem WHERE l_orderkey IN ({gone})"));
            statements.push(format!("DELETE FROM orders WHERE o_orderkey IN ({gone})"));
        }
        if let Some(key) = self.some_order() {
            statements.push(format!(
                "DELETE FROM lineitem WHERE l_orderkey = {key} AND l_linenumber = 0"
            ));
        }
        statements
    }

    fn some_order(&mut self) -> Option<u64> {
        let at = self.below(self.orders.len().max(1) as u64) as usize;
        self.orders.keys().nth(at).copied()
    }

    fn order(&mut self, count: u64) -> Vec<String> {
        let (mut orders, mut lines) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let key = self.next_order;
            self.next_order += 1;
            let (year, month) = SEASONS[self.below(SEASONS.len() as u64) as usize];
            // A day of the season's months or of a later year.
            let day = days(year + self.below(3), month) + self.below(90) as i64;
            let count = 1 + self.below(5);
            lines.extend((0..count).map(|line| self.line(key, line, day)));
            self.orders.insert(key, count);
            // A third of the customers never order.
            let customer = self.below(CUSTOMERS / 3) * 3 + 1 + self.below(2);
            let price = self.money(100, 90_000);
            let status = ["F", "F", "O"][self.below(3) as usize];
            let comment = ["special packages requests", "as usual", "none"][self.below(3) as usize];
            let priority = self.one_of(&PRIORITIES);
            orders.push(format!(
                "({key}, {customer}, '{status}', {price}, {}, '{priority}', 0, '{comment}')",
                date(day)
            ));
        }
        vec![insert("orders", orders), insert("lineitem", lines)]
    }

    fn line(&mut self, order: u64, number: u64, ordered: i64) -> String {
        let (part, first) = (self.below(PARTS), self.below(2));
        let supplier = offered(part, first);
        let quantity = 1 + self.below(50);
        let price = self.money(100, 2000);
        let (discount, tax) = (self.below(11), self.below(9));
        let shipped = ordered + 1 + self.below(60) as i64;
        let promised = ordered + 20 + self.below(50) as i64;
        let received = shipped + 1 + self.below(30) as i64;
        let flag = self.one_of(&["R", "A", "N"]);
        let status = self.one_of(&["O", "F"]);
        let (instruction, mode) = (self.one_of(&INSTRUCTIONS), self.one_of(&MODES));
        format!(
            "({order}, {number}, {part}, {supplier}, {quantity}, {price}, 0.{discount:02}, 0.{tax:02}, '{flag}', \
             '{status}', {}, {}, {}, '{instruction}', '{mode}')",
            date(shipped),
            date(promised),
            date(received)
        )
    }

    fn supplier(&mut self, key: u64) -> String {
        let (nation, balance) = (self.below(NATIONS.len() as u64), self.balance());
        let comment = self.one_of(&["Customer has Complaints", "good", "fast"]);
        let phone = self.phone();
        format!("({key}, 'Supplier {key}', 'Street {key}', {nation}, '{phone}', {balance}, '{comment}')")
    }

    fn customer(&mut self, key: u64) -> String {
        let (nation, balance) = (self.below(NATIONS.len() as u64), self.balance());
        let (phone, segment) = (self.phone(), self.one_of(&SEGMENTS));
        format!("({key}, 'Customer {key}', 'Lane {key}', {nation}, '{phone}', {balance}, '{segment}', 'no comment')")
    }

    fn part(&mut self, key: u64) -> String {
        let (name, brand, kind) = (self.one_of(&NAMES), self.one_of(&BRANDS), self.one_of(&TYPES));
        let size = SIZES[self.below(SIZES.len() as u64) as usize];
        let container = self.one_of(&CONTAINERS);
        format!(
            "({key}, '{name}', 'Maker {}', '{brand}', '{kind}', {size}, '{container}')",
            key % 5
        )
    }

    fn offers(&mut self, part: u64) -> Vec<String> {
        let offer = |supplier: u64, random: &mut Random| {
            let (quantity, cents) = (1 + random.below(200), 100 + random.below(40_000));
            format!("({part}, {supplier}, {quantity}, {}.{:02})", cents / 100, cents % 100)
        };
        (0..2).map(|nth| offer(offered(part, nth), &mut self.random)).collect()
    }

    fn phone(&mut self) -> String {
        format!("{}-{:03}", self.one_of(&CODES), self.below(1000))
    }

    fn balance(&mut self) -> String {
        let below_zero = if self.below(4) == 0 { "-" } else { "" };
        format!("{below_zero}{}", self.money(1, 9000))
    }

    /// An amount with cents.
    fn money(&mut self, from: u64, to: u64) -> String {
        format!("{}.{:02}", from + self.below(to - from), self.below(100))
    }

    fn one_of(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len() as u64) as usize]
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random.below(bound)
    }
}

/// Each part is offered by two suppliers.
fn offered(part: u64, nth: u64) -> u64 {
    (part * 7 + nth * 5) % SUPPLIERS
}

fn insert(table: &str, rows: Vec<String>) -> String {
    format!("INSERT INTO {table} VALUES {}", rows.join(", "))
}

/// Days from 1970 to the first of a month.
fn days(year: u64, month: u64) -> i64 {
    let leap_days = (year - 1969) / 4;
    let into = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
    ((year - 1970) * 365 + leap_days + into) as i64
}

/// The literal of a day.
fn date(day: i64) -> String {
    format!("CAST({day} AS DATE)")
}
