//! The command line of the real program: what it teaches, refuses, checks, makes anew and takes in.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use serde_json::Value;

use crate::kit::dicom::{Instance, STUDY, blue_circle, green_square, red_triangle};
use crate::kit::folder::{copy, files, name};
use crate::kit::ground::{Ground, on_every_ground};
use crate::kit::history::{PARTITIONED, answers, assert_same, delete, happen, send};
use crate::kit::process::{Connection, PATIENCE, Process, kymo, ran};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder for one test, and the name of the data folder in it.
fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    (folder, data)
}

/// What a command says that must end by itself with an error.
fn refused(command: &mut Command) -> String {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program can be run");
    let began = Instant::now();
    while child.try_wait().expect("its state can be asked").is_none() {
        if began.elapsed() > PATIENCE {
            drop((child.kill(), child.wait()));
            panic!("{command:?} runs although it must be refused");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let Output { status, stderr, .. } = child.wait_with_output().expect("it has ended");
    assert!(!status.success(), "{command:?}");
    text(&stderr)
}

/// Waits, in vain never for long.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn serve(data: &Path) -> Command {
    let mut command = kymo();
    command.args(["serve", "--listen", "127.0.0.1:0", "--data", name(data)]);
    command
}

/// `verify`: whether all is right, and what it says.
fn verify(data: &Path) -> (bool, String) {
    let Output { status, stdout, stderr } = ran(&["verify", "--trace", "warn", "--data", name(data)]);
    let said = text(&stdout) + &text(&stderr);
    assert!(said.contains("things are wrong") || !status.success(), "{said}");
    (status.success(), said)
}

/// A stopped archive with a history in it.
fn stopped(data: &Path) {
    let archive = Process::start(data, &[]);
    happen(&archive);
    assert!(archive.stop().success());
}

fn flip(path: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = std::fs::read(path).expect("a file");
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).expect("it can be written");
}

#[test]
fn help_teaches() {
    let help = ran(&["--help"]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    for word in ["serve", "rebuild", "verify", "log", "import", "curl http://127.0.0.1:8080", "KYMO_"] {
        assert!(help.contains(word), "{word}: {help}");
    }
    for (command, words) in [
        (
            "serve",
            &["--listen", "127.0.0.1:8080", "--data", "kymo-data", "--admin", "--cors-allow-origin"][..],
        ),
        ("rebuild", &["archive", "search", "--data"]),
        ("verify", &["exit code 1", "--data"]),
        ("log", &["--from", "--follow", "JSON"]),
        ("import", &["interrupted", "--data"]),
    ] {
        let help = text(&ran(&[command, "--help"]).stdout);
        for word in words {
            assert!(help.contains(word), "{command} {word}: {help}");
        }
    }
}

#[test]
fn a_setting_that_is_unknown_or_impossible_is_named() {
    let (folder, data) = folder();
    for (flags, named) in [
        (&["--max-bodies", "1MiB"][..], "--max-bodies"),
        (&["--max-body", "a lot"], "--max-body"),
        (&["--max-parts", "0"], "max-parts"),
        (&["--stop-wait", "soon"], "--stop-wait"),
        (&["--keep-released", "never"], "--keep-released"),
        (&["--workspace", "a/b"], "workspace"),
        (&["--cors-allow-origin", "*", "--cors-allow-credentials"], "cors-allow"),
        (&["--admin", "0.0.0.0:0"], "admin"),
    ] {
        let said = refused(serve(&data).args(flags));
        assert!(said.contains(named), "{flags:?}: {said}");
    }
    for (variable, value, named) in [
        ("KYMO_MAX_BODIES", "1MiB", "max-bodies"),
        ("KYMO_MAX_BODY", "a lot", "max-body"),
        ("KYMO_CACHE", "0B", "cache"),
    ] {
        let said = refused(serve(&data).env(variable, value)).to_lowercase();
        assert!(said.contains(named), "{variable}={value}: {said}");
    }
    let file = folder.path().join("kymo.toml");
    for (content, named) in
        [("max-bodies = 1", "max-bodies"), ("log-segment = \"0B\"", "log-segment"), ("= 1", "kymo.toml")]
    {
        std::fs::write(&file, content).expect("the folder is there");
        let said = refused(serve(&data).args(["--config", name(&file)]));
        assert!(said.contains(named), "{content}: {said}");
    }
    assert!(refused(serve(&data).args(["--config", "/no/such/file"])).contains("/no/such/file"));
    let remote = refused(kymo().args(["serve", "--listen", "0.0.0.0:0", "--data", name(&data)]));
    assert!(remote.contains("listen") && remote.contains("allow-remote"), "{remote}");
    assert!(!data.exists(), "whoever is refused has touched nothing");
}

#[test]
fn the_data_of_a_running_archive_are_its_own() {
    let (_folder, data) = folder();
    let archive = Process::start(&data, &[]);
    send(&mut archive.connect(), "POST", &red_triangle());
    let file = data.with_extension("dcm");
    std::fs::write(&file, blue_circle().part10()).expect("the folder is there");
    for command in [
        &mut serve(&data),
        kymo().args(["verify", "--data", name(&data)]),
        kymo().args(["rebuild", "--data", name(&data)]),
        kymo().args(["rebuild", "archive", "--data", name(&data)]),
        kymo().args(["import", "--data", name(&data), name(&file)]),
    ] {
        let said = refused(command);
        assert!(said.contains(name(&data)) && said.contains("in use"), "{command:?}: {said}");
    }
    let taken = archive.address().to_string();
    let elsewhere = data.with_extension("other");
    let said = refused(kymo().args(["serve", "--listen", &taken, "--data", name(&elsewhere)]));
    assert!(said.contains(&format!("cannot listen on {taken}: ")), "{said}");
    assert_eq!(archive.get("/v2/changefeed").json().as_array().map(Vec::len), Some(1));
}

#[test]
fn the_log_is_printed_beside_a_running_archive() {
    let (_folder, data) = folder();
    let archive = Process::start(&data, &[]);
    let mut connection = archive.connect();
    send(&mut connection, "POST", &red_triangle());
    let lines = |from: &str| -> Vec<Value> {
        let printed = ran(&["log", "--data", name(&data), "--from", from]);
        assert!(printed.status.success(), "{}", text(&printed.stderr));
        let lines = text(&printed.stdout);
        lines.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
    };
    // What was just stored is shown once a mark or a later record says that it is durable.
    until("the mark does not come", || lines("2").len() == 1);
    let all = lines("0");
    assert!(all.iter().enumerate().all(|(index, line)| line["position"] == index), "{all:?}");
    let kind = |line: &Value| {
        let payload = line["event"]["payload"].as_object().expect("a payload");
        payload.keys().next().expect("a kind").clone()
    };
    let kinds: Vec<String> = all.iter().map(kind).collect();
    assert_eq!(kinds, ["LogCreated", "FormatEnabled", "InstanceStored"]);
    assert!(all[2]["chain"].as_str().is_some_and(|chain| chain.len() == 64));
    assert!(all[2].to_string().contains(STUDY));
    assert_eq!(lines("2"), all[2..]);
    assert!(lines("3").is_empty());

    // One that follows prints what happens later.
    let mut follower = kymo();
    follower.args(["log", "--follow", "--from", "2", "--data", name(&data)]).stdout(Stdio::piped());
    let mut follower = follower.spawn().expect("the program can be run");
    let (say, heard) = mpsc::channel();
    let output = BufReader::new(follower.stdout.take().expect("its output is piped"));
    std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
    let next = || -> Value {
        let line = heard.recv_timeout(PATIENCE).expect("a line comes");
        serde_json::from_str(&line).expect("a JSON line")
    };
    assert_eq!(next(), all[2]);
    delete(&mut connection, &format!("/v2/studies/{STUDY}"));
    let deleted = next();
    assert_eq!((&deleted["position"], kind(&deleted).as_str()), (&Value::from(3), "Deleted"));
    drop((follower.kill(), follower.wait()));
    assert_eq!(archive.get("/v2/changefeed").status, 200);

    let none = refused(kymo().args(["log", "--data", "/no/such/folder"]));
    assert!(none.contains("/no/such/folder"), "{none}");
}

#[test]
fn verify_names_what_is_wrong_and_what_is_right_is_right() {
    let (folder, data) = folder();
    stopped(&data);
    let (right, said) = verify(&data);
    assert!(right && said.contains("0 things are wrong"), "{said}");

    let damaged = |what: &str, damage: &dyn Fn(&Path) -> PathBuf| {
        let copied = folder.path().join(what.replace(' ', "-"));
        copy(&data, &copied);
        let culprit = damage(&copied);
        let (right, said) = verify(&copied);
        assert!(!right, "{what}: {said}");
        let culprit = culprit.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        assert!(said.contains("wrong: ") && said.contains(&culprit), "{what}, {culprit}: {said}");
        said
    };
    let log = damaged("a byte of the log", &|data| {
        let segment =
            files(&data.join("log")).into_iter().find(|file| file.extension().is_some_and(|e| e == "kylog"));
        let segment = segment.expect("a segment");
        flip(&segment, |length| length / 2);
        segment
    });
    assert!(log.contains(" at offset ") && log.contains("position "), "{log}");
    damaged("a byte of a file", &|data| {
        let file = files(&data.join("lake")).pop().expect("a file");
        flip(&file, |length| length - 1);
        file
    });
    damaged("a missing file", &|data| {
        let file = files(&data.join("lake")).pop().expect("a file");
        std::fs::remove_file(&file).expect("it was there");
        file
    });
    damaged("a file cut short", &|data| {
        let file = files(&data.join("lake")).pop().expect("a file");
        let bytes = std::fs::read(&file).expect("it is there");
        std::fs::write(&file, &bytes[..bytes.len() - 1]).expect("it can be written");
        file
    });
}

/// Two archives that part ways after a common history exchange a view: each is whole, and wrong.
#[test]
fn verify_finds_a_view_that_is_not_what_the_log_makes() {
    let (folder, data) = folder();
    let archive = Process::start(&data, &[]);
    send(&mut archive.connect(), "POST", &red_triangle());
    assert!(archive.stop().success());
    let other = folder.path().join("other");
    copy(&data, &other);
    for (data, patient) in [(&data, "A"), (&other, "B")] {
        let archive = Process::start(data, &[]);
        send(&mut archive.connect(), "POST", &green_square().patient(patient, "Doe"));
        assert!(archive.stop().success());
    }
    for (view, folder) in [("archive", "archive"), ("search", "views/search-rows")] {
        let (mine, kept) = (data.join(folder), data.join("kept"));
        std::fs::rename(&mine, &kept).expect("the view is there");
        copy(&other.join(folder), &mine);
        let (right, said) = verify(&data);
        assert!(!right && said.contains(&format!("wrong: view {view}")), "{view}: {said}");
        let rebuilt = ran(&["rebuild", view, "--data", name(&data)]);
        assert!(rebuilt.status.success(), "{}", text(&rebuilt.stderr));
        let (right, said) = verify(&data);
        assert!(right, "{view}: {said}");
        std::fs::remove_dir_all(&kept).expect("it was there");
    }
}

on_every_ground! { views_are_rebuilt_one_or_all_stopped_or_serving }

fn views_are_rebuilt_one_or_all_stopped_or_serving(ground: &Ground) {
    let (_folder, data) = folder();
    let archive = ground.start(&data, &[PARTITIONED]);
    happen(&archive);
    let before = answers(&archive);
    let admin = std::fs::read_to_string(data.join("admin")).expect("its address for commands");
    let admin = admin.trim().parse().expect("an address");

    let asked = ground.ran("rebuild", &data, &["search"]);
    assert!(asked.status.success(), "{}", text(&asked.stderr));
    until("it is still rebuilding", || archive.errors().contains("the other search view answers now"));
    let status = Connection::to(admin).expect("it listens").ask("GET", "/status", &[], b"");
    let status = status.expect("it answers").json();
    assert_eq!((&status["search"]["state"], &status["feed"]), (&"Live".into(), &130.into()), "{status}");
    assert_same(&before, &answers(&archive), "after a rebuild while serving");
    assert!(archive.stop().success());

    for views in [&[][..], &["archive"], &["search"], &["search", "archive"]] {
        let rebuilt = ground.ran("rebuild", &data, views);
        assert!(rebuilt.status.success(), "{views:?}: {}", text(&rebuilt.stderr));
        assert!(text(&rebuilt.stdout).contains("a second"), "it tells its rate");
        let archive = ground.start(&data, &[PARTITIONED]);
        assert_same(&before, &answers(&archive), &format!("after a rebuild of {views:?}"));
        assert!(archive.stop().success());
    }
    let unknown = refused(kymo().args(["rebuild", "tags", "--data", name(&data)]));
    assert!(unknown.contains("'tags'") && unknown.contains("archive and search"), "{unknown}");
    let nothing = refused(kymo().args(["rebuild", "--data", "/no/such/folder"]));
    assert!(nothing.contains("/no/such/folder"), "{nothing}");
}

#[test]
fn tables_kept_by_another_engine_are_made_anew_and_answer_the_same() {
    let (_folder, data) = folder();
    let archive = Process::start(&data, &["--tables", "sled"]);
    happen(&archive);
    let before = answers(&archive);
    assert!(archive.stop().success());
    for (engine, times_made_anew) in [("sled", 0), ("fjall", 1), ("fjall", 1), ("sled", 2)] {
        let archive = Process::start(&data, &["--tables", engine]);
        assert_same(&before, &answers(&archive), engine);
        let said = archive.errors();
        assert_eq!(said.matches("folded again from the log").count(), times_made_anew, "{engine}: {said}");
        assert!(archive.stop().success());
    }
}

#[test]
fn import_takes_folders_says_what_became_of_each_file_and_can_be_run_again() {
    let (folder, data) = folder();
    let files = folder.path().join("files");
    let deep = files.join("deep/er");
    std::fs::create_dir_all(&deep).expect("a folder");
    let directory = Instance::new("1.2", "1.2.1", "1.2.1.9")
        .meta(0x0002_0002, "UI", "1.2.840.10008.1.3.10")
        .element(0x0008_0016, "UI", "1.2.840.10008.1.3.10");
    for (path, bytes) in [
        (files.join("red.dcm"), red_triangle().part10()),
        (files.join("twin.dcm"), red_triangle().part10()),
        (deep.join("green"), green_square().part10()),
        (files.join("DICOMDIR"), directory.part10()),
        (files.join("note.txt"), b"nothing to see".to_vec()),
    ] {
        std::fs::write(path, bytes).expect("the folder is there");
    }
    let round = files.join("round");
    std::os::unix::fs::symlink(&files, &round).expect("links can be made");
    std::os::unix::fs::symlink(files.join("red.dcm"), deep.join("red-again")).expect("links can be made");
    let single = folder.path().join("blue.dcm");
    std::fs::write(&single, blue_circle().part10()).expect("the folder is there");
    let import = || ran(&["import", "--data", name(&data), name(&files), name(&single)]);

    let first = import();
    let said = text(&first.stdout);
    assert!(said.contains("stored 3 instances"), "{said}{}", text(&first.stderr));
    assert!(said.contains("already there 2, DICOMDIR skipped 1, refused 2"), "{said}");
    let refusal = format!("refused: {}: not a DICOM file", name(&files.join("note.txt")));
    assert!(said.contains(&refusal), "{said}");
    let refusal = format!("refused: {}: neither a file nor a link to one", name(&round));
    assert!(said.contains(&refusal), "{said}");
    assert!(!first.status.success(), "something was refused");

    std::fs::remove_file(files.join("note.txt")).expect("it was there");
    std::fs::remove_file(&round).expect("it was there");
    let second = import();
    let said = text(&second.stdout);
    assert!(said.contains("stored 0 instances"), "{said}");
    assert!(said.contains("already there 5, DICOMDIR skipped 1, refused 0"), "{said}");
    assert!(second.status.success());

    let archive = Process::start(&data, &[]);
    let found = archive.ask("GET", "/v2/instances", &[("accept", "application/dicom+json")], b"");
    assert_eq!(found.json().as_array().map(Vec::len), Some(3));
    assert!(archive.stop().success());
    let missing = refused(kymo().args(["import", "--data", name(&data), "/no/such/file"]));
    assert!(missing.contains("/no/such/file"), "{missing}");
}

#[test]
fn an_interrupted_import_goes_on_when_it_is_run_again() {
    const FILES: usize = 400;
    let (folder, data) = folder();
    let files = folder.path().join("files");
    std::fs::create_dir(&files).expect("a folder");
    for number in 0..FILES {
        let file = Instance::new("1.2", "1.2.1", &format!("1.2.1.{number}")).part10();
        std::fs::write(files.join(format!("{number}.dcm")), file).expect("the folder is there");
    }
    let arguments = ["import", "--data", name(&data), name(&files)];
    let mut first = kymo();
    first.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut first = first.spawn().expect("the program can be run");
    let lake = data.join("lake");
    until("nothing is stored", || lake.is_dir() && !self::files(&lake).is_empty());
    let told = Command::new("kill").args(["-INT", &first.id().to_string()]).status();
    assert!(told.is_ok_and(|status| status.success()));
    let mut said = String::new();
    first.stdout.take().expect("it is piped").read_to_string(&mut said).expect("a text");
    first.wait().expect("it has ended");
    let stored: usize = counted(&said, "stored ");
    // It may have been done before it was told to stop.
    assert_eq!(said.contains("interrupted"), stored < FILES, "{said}");

    let second = text(&ran(&arguments).stdout);
    // Files that were just being stored when it was told to stop may be in the archive uncounted.
    assert!(counted(&second, "already there ") >= stored, "{said}{second}");
    assert_eq!(counted(&second, "stored ") + counted(&second, "already there "), FILES, "{second}");
    let (right, said) = verify(&data);
    assert!(right, "{said}");
}

/// The number behind `what`.
fn counted(said: &str, what: &str) -> usize {
    let behind = said.split(what).nth(1).unwrap_or_else(|| panic!("no {what}in {said}"));
    behind.split([' ', ',']).next().and_then(|number| number.parse().ok()).expect("a number")
}

/// Sends SIGTERM and waits until no new connection is taken.
fn told_to_stop(archive: &Process) {
    let told = Command::new("kill").args(["-TERM", &archive.id().to_string()]).status();
    assert!(told.is_ok_and(|status| status.success()));
    until("it still takes connections", || Connection::to(archive.address()).is_err());
}

/// The red triangle with so much behind it that the half of it is more than the archive keeps in memory.
fn large() -> Vec<u8> {
    red_triangle().element(0x7FE0_0010, "OB", vec![0_u8; 8 << 20]).part10()
}

/// Sends the first half of a file, and waits until the archive holds some of it.
fn begun(archive: &Process, file: &[u8]) -> Connection {
    let mut upload = archive.connect();
    let head = format!(
        "POST /v2/studies HTTP/1.1\r\nhost: archive.example\r\naccept: application/dicom+json\r\n\
         content-type: application/dicom\r\ncontent-length: {}\r\n\r\n",
        file.len()
    );
    upload.write(head.as_bytes()).expect("it reads");
    upload.write(&file[..file.len() / 2]).expect("it reads");
    until("it has not begun to read the upload", || !files(&archive.data().join("staging")).is_empty());
    upload
}

#[test]
fn a_stop_lets_a_running_upload_finish() {
    let (_folder, data) = folder();
    let archive = Process::start(&data, &[]);
    send(&mut archive.connect(), "POST", &blue_circle());
    let file = large();
    let mut upload = begun(&archive, &file);
    told_to_stop(&archive);
    upload.write(&file[file.len() / 2..]).expect("it still reads");
    let answer = upload.answer_to("POST").expect("it answers");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(archive.stop().success());

    let archive = Process::start(&data, &[]);
    let metadata = archive.ask(
        "GET",
        &format!("/v2/studies/{STUDY}/metadata"),
        &[("accept", "application/dicom+json")],
        b"",
    );
    assert_eq!(metadata.json().as_array().map(Vec::len), Some(2));
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let (_folder, data) = folder();
    let archive = Process::start(&data, &["--stop-wait", "50ms"]);
    send(&mut archive.connect(), "POST", &blue_circle());
    let _upload = begun(&archive, &large());
    told_to_stop(&archive);
    assert!(archive.stop().success());
    assert!(files(&data.join("staging")).is_empty(), "nothing of it stays");

    let archive = Process::start(&data, &[]);
    assert_eq!(archive.get("/v2/changefeed").json().as_array().map(Vec::len), Some(1));
}
