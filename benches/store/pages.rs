//! P6 and P7: pages, counts and searches beside a thousand threads and a million.

use std::path::Path;
use std::time::Duration;

use metawsm::store::Reader;
use metawsm::store::read::forum::{Queue, ThreadFilter, Viewer};
use metawsm::store::search::Indexer;

use crate::{data, micros, p50, ratio, timed};

type Look = (&'static str, Box<dyn Fn(&Reader)>);

fn pages() -> Vec<Look> {
    let none = ThreadFilter::default;
    let queue = |queue, viewer: Viewer| -> Box<dyn Fn(&Reader)> {
        Box::new(move |reader| {
            let page = reader.queue(queue, &viewer, &none(), None, 50).unwrap();
            assert!(page.threads.len() > 25, "{queue:?}");
        })
    };
    let found = |filter: ThreadFilter, least: usize| -> Box<dyn Fn(&Reader)> {
        Box::new(move |reader| assert!(reader.threads(&filter, None, 50).unwrap().threads.len() >= least, "{filter:?}"))
    };
    let ada = || Viewer::Human("ada".to_owned());
    let second = move |reader: &Reader| {
        let first = reader.threads(&none(), None, 50).unwrap();
        reader.threads(&none(), first.next_cursor.as_deref(), 50).unwrap();
    };
    vec![
        ("list", Box::new(move |reader| drop(reader.threads(&none(), None, 50).unwrap()))),
        ("list, two pages", Box::new(second)),
        (
            "list --state closed",
            Box::new(move |reader| {
                let closed = ThreadFilter { state: Some("closed".to_owned()), ..none() };
                assert_eq!(reader.threads(&closed, None, 50).unwrap().threads.len(), 50);
            }),
        ),
        // Where few or none fit, all of them would be walked without an index.
        ("list --agent, none fits", found(ThreadFilter { agent: Some("nobody".to_owned()), ..none() }, 0)),
        ("list --assignee", found(ThreadFilter { assignee: Some("ada".to_owned()), ..none() }, 25)),
        ("list --priority urgent", found(ThreadFilter { priority: Some("urgent".to_owned()), ..none() }, 50)),
        ("unanswered", queue(Queue::Unanswered, ada())),
        ("assigned", queue(Queue::Assigned, ada())),
        ("needs_me", queue(Queue::NeedsMe, ada())),
        ("unseen, all but 100 seen", queue(Queue::Unseen, ada())),
        ("unseen, nothing seen", queue(Queue::Unseen, Viewer::Human("cy".to_owned()))),
        ("counts of the tabs", Box::new(move |reader| assert!(reader.queue_counts(&ada()).unwrap().all > 0))),
        ("stats", Box::new(move |reader| drop(reader.stats(&none()).unwrap()))),
    ]
}

fn searches() -> Vec<Look> {
    let search = |query: &'static str, filter: ThreadFilter, ranked: bool| -> Box<dyn Fn(&Reader)> {
        Box::new(move |reader| drop(reader.search(query, &filter, None, 50, ranked).unwrap()))
    };
    let none = ThreadFilter::default;
    let closed = ThreadFilter { state: Some("closed".to_owned()), ..none() };
    vec![
        ("a seldom word", search("w9371", none(), false)),
        ("a common word", search("w0", none(), false)),
        ("a common word, closed", search("w0", closed, false)),
        ("two words", search("w0 w37", none(), false)),
        ("a phrase", search("\"w0 w3\"", none(), false)),
        ("a prefix, w9*", search("w9*", none(), false)),
        ("a prefix, w937*", search("w937*", none(), false)),
        ("what does not parse", search("w0 (w37", none(), false)),
        ("a seldom word, ranked", search("w9371", none(), true)),
        ("a common word, ranked", search("w0", none(), true)),
    ]
}

fn measured(reader: &Reader, looks: &[Look]) -> Vec<Duration> {
    looks.iter().map(|(_, look)| p50((0..40).map(|_| timed(|| look(reader))).collect())).collect()
}

fn table(sizes: &[usize], looks: &[Look], times: &[Vec<Duration>]) {
    let heads: Vec<String> = sizes.iter().map(|size| format!("{size:>12}")).collect();
    println!("  {:<26}{}   largest / smallest", "", heads.join(""));
    for (at, (name, _)) in looks.iter().enumerate() {
        let cells: Vec<String> = times.iter().map(|of_size| format!("{:>12}", micros(of_size[at]).trim())).collect();
        let (first, last) = (times[0][at], times[times.len() - 1][at]);
        println!("  {name:<26}{}   {:.2}×", cells.join(""), ratio(last, first));
    }
}

pub fn run(dir: &Path, sizes: &[usize], searching: bool) {
    let (mut paged, mut searched, mut filled) = (Vec::new(), Vec::new(), Vec::new());
    for size in sizes {
        let path = dir.join(format!("threads-{size}.db"));
        data::threads(&path, *size);
        let reader = Reader::open(&path).unwrap();
        paged.push(measured(&reader, &pages()));
        if searching {
            let mut indexer = Indexer::open(&path).unwrap();
            filled.push(timed(|| while indexer.index_some(2_000).unwrap() {}));
            searched.push(measured(&reader, &searches()));
        }
        std::fs::remove_file(&path).unwrap();
    }
    println!("P6 · a page of 50, by how many threads there are (goal ≤ 2× of the smallest and ≤ 500 µs)");
    table(sizes, &pages(), &paged);
    if searching {
        println!(
            "P7 · a search, first 50 of them, by how many threads there are, half of them with two posts (goal ≤ 10 ms)"
        );
        table(sizes, &searches(), &searched);
        let filled: Vec<String> = filled.iter().map(|time| format!("{:.1} s", time.as_secs_f64())).collect();
        println!("  the index was filled in {}", filled.join(", "));
    }
}
