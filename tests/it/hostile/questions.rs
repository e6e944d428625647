//! Every route with hostile query strings: an answer or a 400, never more.

use super::{Siege, instance};

const ROUTES: [&str; 18] = [
    "/v2/studies",
    "/v1/studies",
    "/v2/series",
    "/v2/instances",
    "/v2/studies/2.25.81/series",
    "/v2/studies/2.25.81/instances",
    "/v2/studies/2.25.81/series/2.25.81.1/instances",
    "/v2/studies/2.25.81",
    "/v2/studies/2.25.81/metadata",
    "/v2/studies/2.25.81/series/2.25.81.1/instances/2.25.81.1.1/frames/1",
    "/v2/changefeed",
    "/v1/changefeed",
    "/v2/changefeed/latest",
    "/v2/partitions",
    "/health/check",
    "/metrics",
    "/v99/studies",
    "/v2/studies/count",
];

const NUMBERS: &[&str] = &[
    "9223372036854775808",
    "9223372036854775807",
    "18446744073709551616",
    "4294967295",
    "4294967296",
    "-1",
    "0",
    "1",
    "200",
    "201",
    "1e9",
    "0x10",
    "+5",
    "",
    "%20",
    "1%00",
    "NaN",
    "1.5",
    "\u{0661}",
    "99999999999999999999999999",
];

const TIMES: &[&str] = &[
    "2025-02-11T08:15:30Z",
    "9999-12-31T23:59:59.9999999Z",
    "0001-01-01T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "2025-02-30T00:00:00Z",
    "2025-02-11T24:00:00Z",
    "2025-02-11T08:15:30",
    "2025-02-11T08:15:30%2B99:99",
    "-262144-01-01T00:00:00Z",
    "2025-02-11T08:15:30.99999999999999999999999Z",
    "Z",
    "T",
    "%F0%9F%98%80",
    "2025-02-11T08:15:60Z",
];

const VALUES: &[&str] = &[
    "*a*b*c*",
    "****************",
    "%25%25",
    "%",
    "%zz",
    "%c0%af",
    "%00",
    "a%00b",
    "\\",
    "%5C%5C%5C",
    "\"",
    "'%20OR%201=1--",
    "AND%20*:*",
    "%5Bx%20TO%20y%5D",
    "+-&&||!()%7B%7D%5B%5D%5E~*?:",
    "a..b",
    "-",
    "--",
    "20250101-",
    "-20250101",
    "20250101-20240101",
    "20259999",
    "2025-01-01",
    "%E2%80%AE",
    "%EF%BF%BF",
    "%FF%FE",
    "%ED%A0%80",
    "a&&&b",
    "=",
    "===",
    "1.2.3,1.2.4",
    "1.2.3%5C1.2.4",
    "..%2F..%2F",
    "*",
    "%3F%3F*%3F",
    "*a*b*c*d*e*",
    "CT%5CMR,U*",
    "%EF%BC%8A",
    "-StudyDate,PatientName",
    "--StudyDate",
    "2200-0600",
    "00400275.00400009",
    "Doe^^^^=====",
    "%0D%0AX-Evil:%201",
    "${jndi:x}",
];

fn hostile_queries() -> Vec<String> {
    let mut queries = Vec::new();
    for number in NUMBERS {
        queries.extend(
            ["limit", "offset", "LIMIT", "StudyInstanceUID", "fuzzymatching"]
                .map(|key| format!("{key}={number}")),
        );
    }
    for time in TIMES {
        queries.extend(["startTime", "endTime"].map(|key| format!("{key}={time}")));
    }
    queries.push("startTime=2025-02-11T08:15:30Z&endTime=2025-02-11T08:15:30Z".to_owned());
    for value in VALUES {
        queries.extend(
            [
                "PatientID",
                "PatientName",
                "StudyDate",
                "ModalitiesInStudy",
                "StudyInstanceUID",
                "includefield",
                "includeMetadata",
                "StudyTime",
                "SeriesNumber",
                "InstanceNumber",
                "00400275.00401001",
                "orderby",
                "emptyvaluematching",
            ]
            .map(|key| format!("{key}={value}")),
        );
        queries.push(format!("fuzzymatching=true&PatientName={value}"));
        queries.push(format!("fuzzymatching=any&PatientName={value}"));
        queries.push(format!("{value}={value}"));
    }
    queries.extend(
        ["<", "%3c", "%3C", "a=b<c", "x%253c", "&", "?", "??", "#", "a=b=c", ";", "limit=1&limit=2"]
            .map(str::to_owned),
    );
    let long = |piece: &str| piece.repeat(48_000 / piece.len());
    queries.extend(
        ["a&", "a=b&", "&", "PatientID=x&", "limit=1&", "includefield=PatientID&", "00100020=x&0010,0020=y&"]
            .map(long),
    );
    queries.push(format!("includefield={}", long("00080020,")));
    queries.push(format!("includefield={}", long("all,")));
    queries.push(format!("PatientName={}", long("*a")));
    queries.push(format!("PatientName={}&fuzzymatching=true", long("a+")));
    queries.push(format!("PatientName={}&fuzzymatching=true", long("%CC%81")));
    queries.push(format!("StudyInstanceUID={}", long("1.2.3,")));
    queries.push(format!("{}=1", long("00400275.")));
    queries.push(format!("includefield={}", long("00400275.")));
    queries.push(format!("orderby={}", long("StudyDate,")));
    queries.push(format!("PatientName={}&fuzzymatching=any", long("a+")));
    queries.push(long("StudyInstanceUID=1.2.3&"));
    queries.push(format!("StudyInstanceUID={}", long("%5C")));
    queries.push(format!("a={}", "b".repeat(100_000)));
    queries
}

#[test]
fn no_query_is_more_than_wrong() {
    let mut siege = Siege::lay("queries", &[]);
    for n in 1..=20 {
        let name = ["Doe^Jane", "d'Oe*^?", "Ωmega^\"", ""][n as usize % 4];
        siege.expect_stored("a file", &instance(n).patient(&format!("*{n}%"), name).part10());
    }
    for (at, query) in hostile_queries().iter().enumerate() {
        for (of, route) in ROUTES.iter().enumerate() {
            // All of them on search and feed, on the others a part.
            if of > 2 && of != 10 && (at + of) % 7 != 0 {
                continue;
            }
            let answer = siege.get(&format!("{route}?{query}"));
            let status = answer.status;
            assert!(status < 300 || (400..500).contains(&status), "{route}?{query:.300}: {answer:?}");
            assert!(
                !answer.bytes().windows(6).any(|window| window == b"/data/"),
                "{route}?{query:.300}: {answer:?}"
            );
            if status == 200 && route.contains("/studies?") {
                answer.json();
            }
        }
    }
    for method in ["POST", "PUT", "DELETE"] {
        for query in ["limit=-1", "%3c", "a=%", "x=\u{ff}"] {
            let answer = siege.ask(method, &format!("/v2/studies/1.2?{query}"), &[("accept", "*/*")], b"");
            assert!((400..500).contains(&answer.status), "{method} {query}: {answer:?}");
        }
    }
    assert_eq!(siege.get("/v2/studies?limit=200").json().as_array().map(Vec::len), Some(20));
    siege.lift();
}

/// Questions of any size have a bounded answer, and say what is wrong.
#[test]
fn hostile_questions_have_their_statuses() {
    let mut siege = Siege::lay("questions", &[]);
    let long = "a".repeat(60);
    for n in 1..=40 {
        siege.expect_stored("a file", &instance(n).patient(&long, &format!("{long}^{n}")).part10());
    }
    let list = |count: usize, between: &str| vec!["1.2"; count].join(between);
    let repeated = |count: usize| vec!["StudyInstanceUID=1.2"; count].join("&");
    let (found, none, refused) = (&[200][..], &[204][..], &[400][..]);
    let names = "StudyInstanceUID";
    for (query, allowed, says) in [
        (format!("StudyInstanceUID={}", list(10_000, ",")), refused, names),
        (format!("StudyInstanceUID={}", list(8_000, "%5C")), refused, names),
        (repeated(2_000), refused, names),
        (format!("StudyInstanceUID={}", list(500, ",,")), none, ""),
        (format!("StudyInstanceUID={}", list(501, ",")), refused, "500"),
        ("PatientID=*a*a*a*a*a*".to_owned(), found, ""),
        ("PatientID=*a*b*c*d*e*".to_owned(), none, ""),
        (format!("PatientID={}b*", "*a".repeat(500)), none, ""),
        (format!("PatientName={}*", "*a".repeat(512)), refused, "PatientName"),
        (format!("PatientName={}", "?".repeat(1_024)), none, ""),
        ("PatientID=*".to_owned(), found, ""),
        ("PatientID=**".to_owned(), found, ""),
        ("PatientID=%3F".to_owned(), none, ""),
        ("offset=9223372036854775808".to_owned(), none, ""),
        (format!("offset={}", "9".repeat(40)), none, ""),
        ("offset=18446744073709551616&PatientID=a*".to_owned(), &[204, 413], ""),
        ("offset=18446744073709551616&orderby=PatientName".to_owned(), &[204, 413], ""),
        ("offset=-1".to_owned(), refused, "offset"),
        ("offset=".to_owned(), refused, "offset"),
        ("offset=%D9%A3".to_owned(), refused, "offset"),
        (vec!["a=b"; 12_000].join("&"), refused, "'a'"),
        (vec!["PatientID=x"; 4_000].join("&"), refused, "PatientID"),
        ("PatientID=%00%01%7F%F4%8F%BF%BF".to_owned(), none, ""),
        ("PatientID=%zz%&PatientName=%FF%C0%AF".to_owned(), none, ""),
        (format!("orderby={}", vec!["StudyDate"; 4_000].join(",")), refused, "orderby"),
        ("orderby=--PatientID".to_owned(), refused, "--PatientID"),
        (
            "orderby=ReferencedStudySequence&includefield=ReferencedStudySequence".to_owned(),
            refused,
            "orderby",
        ),
        (format!("includefield={}", vec!["00081110"; 1_000].join(".")), refused, "includefield"),
        (format!("includefield={}", vec!["PatientSex"; 4_000].join(",")), found, ""),
        (format!("fuzzymatching=any&PatientName={}", vec!["a"; 10_000].join("+")), refused, "PatientName"),
        ("fuzzymatching=any&PatientName=%20%5E%20=".to_owned(), none, ""),
        ("emptyvaluematching=true".to_owned(), refused, "emptyvaluematching"),
        ("TimezoneOffsetFromUTC=%2B0100".to_owned(), refused, "TimezoneOffsetFromUTC"),
    ] {
        let answer = siege.get(&format!("/v2/studies?{query}"));
        let text = answer.text();
        assert!(allowed.contains(&answer.status), "{query:.200}: {} {text:.500}", answer.status);
        assert!(text.contains(says), "{query:.200}: {text:.500}");
        assert!(text.len() < 64 << 10 || answer.status == 200, "{query:.200}: {} bytes", text.len());
    }
    siege.lift();
}
