//! Terminals and files: `exec -it`, `attach`, `run -it`, `debug`, `cp`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Stdio;

use mizzen_tests::image::IMAGE;
use mizzen_tests::terminal::Terminal;
use mizzen_tests::{read_until, succeed};

use super::Client;

/// Waits until it is told to stop, and then stops at once.
const WAIT: &str = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";

/// Runs all of them in a namespace.
pub(super) fn all(client: &Client<'_>, ns: &str) {
    let image = format!("--image={IMAGE} --image-pull-policy=IfNotPresent");
    let mut run = client.command_with(&format!("run box -n {ns} {image} --command --"), &["sh", "-c", WAIT]);
    assert_eq!(succeed(&mut run), "pod/box created\n");
    client.run(&format!("wait pod/box -n {ns} --for=condition=Ready --timeout=60s"));
    exec_in_a_terminal(client, ns);
    files_come_and_go(client, ns);
    attach(client, ns);
    run_and_remove(client, ns);
    debug(client, ns);
    client.run(&format!("delete pod box -n {ns} --now"));
}

fn exec_in_a_terminal(client: &Client<'_>, ns: &str) {
    let mut shell = Terminal::open(31, 97, &client.command(&format!("exec -it -n {ns} box -- sh")));
    shell.see("# ");
    shell.keys("stty size; tty\r");
    shell.see("31 97");
    shell.see("/dev/pts/");
    shell.resize(40, 120);
    // The size travels by itself: asked for until it has arrived.
    shell.keys("while [ \"$(stty size)\" != '40 120' ]; do sleep 0.1; done; echo resi''zed\r");
    shell.see("resized");
    // Until it has begun the shell reads keys itself; a program of its own dies of the signal at any time.
    shell.keys("sh -c \"echo be''gun; sleep 3600\"\r");
    shell.see("begun");
    shell.keys("\x03");
    shell.see("# ");
    shell.keys("echo inter''rupted; exit 7\r");
    shell.see("interrupted");
    let (code, rest) = shell.end();
    assert_eq!(code, Some(7), "{rest}");
    assert!(rest.contains("command terminated with exit code 7"), "{rest}");
}

fn files_come_and_go(client: &Client<'_>, ns: &str) {
    let here = client.cluster.scratch().join(format!("files-{}", client.name));
    fs::create_dir_all(here.join("tree/deep")).expect("folders");
    // More than fits into any buffer on the way.
    let large: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    fs::write(here.join("tree/deep/large"), &large).expect("written");
    fs::write(here.join("tree/small"), "a line\n").expect("written");
    let at = here.display();
    client.run(&format!("cp {at}/tree box:/copied -n {ns}"));
    client.expect(&format!("exec box -n {ns} -- cat /copied/small"), "a line");
    client.run(&format!("cp box:/copied {at}/back -n {ns}"));
    assert!(
        fs::read(here.join("back/deep/large")).expect("came back") == large,
        "the same bytes"
    );
}

fn attach(client: &Client<'_>, ns: &str) {
    let file = client.cluster.scratch().join(format!("{}-echo.json", client.name));
    let pod = serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "echo" },
        "spec": { "restartPolicy": "Never", "containers": [{ "name": "a", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
            "stdin": true, "stdinOnce": true, "command": ["sh", "-c",
            "echo begun; cat; echo over; until [ -e /seen ]; do sleep 0.1; done"] }] } });
    fs::write(&file, pod.to_string()).expect("written");
    client.run(&format!("create -n {ns} -f {}", file.display()));
    client.run(&format!("wait pod/echo -n {ns} --for=condition=Ready --timeout=60s"));
    let mut attached = client
        .command(&format!("attach -i -n {ns} echo"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    let mut input = attached.stdin.take().expect("a pipe");
    input.write_all(b"heard\n").expect("written");
    let mut output = attached.stdout.take().expect("a pipe");
    read_until(&mut output, "heard");
    // More than fits into any buffer on the way, and then the end of input.
    let lines = "a line\n".repeat(50_000);
    let sent = lines.clone();
    let writer = std::thread::spawn(move || input.write_all(sent.as_bytes()));
    // Until all has come the container stays: what is on its way when it ends, old containerds lose.
    let mut rest = read_until(&mut output, "over\n");
    writer.join().expect("a thread").expect("written");
    client.run(&format!("exec -n {ns} echo -- touch /seen"));
    output.read_to_string(&mut rest).expect("text");
    assert!(attached.wait().expect("it ends").success());
    assert_eq!(rest.matches("a line\n").count(), 50_000);
    assert!(rest.ends_with("a line\nover\n"), "the end of the output is missing");
    client.run(&format!(
        "wait pod/echo -n {ns} --for=jsonpath={{.status.phase}}=Succeeded --timeout=30s"
    ));
    client.expect(&format!("logs echo -n {ns} --limit-bytes=12"), "begun\nheard\n");

    // Without input only the output is followed.
    let mut talk = client.command_with(
        &format!("run talk -n {ns} --image={IMAGE} --image-pull-policy=IfNotPresent --command --"),
        &["sh", "-c", "while :; do echo talking; sleep 0.2; done"],
    );
    succeed(&mut talk);
    client.run(&format!("wait pod/talk -n {ns} --for=condition=Ready --timeout=60s"));
    let mut attached = client
        .command(&format!("attach -n {ns} talk"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("kubectl runs");
    read_until(attached.stdout.as_mut().expect("a pipe"), "talking\ntalking\n");
    attached.kill().expect("a process to kill");
    attached.wait().expect("it ends");
    client.run(&format!("delete pod echo talk -n {ns} --now"));
}

fn run_and_remove(client: &Client<'_>, ns: &str) {
    let arguments =
        format!("run once --rm -it -n {ns} --image={IMAGE} --image-pull-policy=IfNotPresent --restart=Never -- sh");
    let mut shell = Terminal::open(25, 80, &client.command(&arguments));
    // kubectl may attach after the prompt was written.
    shell.see("pressing enter.");
    shell.keys("\r");
    shell.see("# ");
    shell.keys("echo in''side; exit 0\r");
    shell.see("inside");
    let (code, rest) = shell.end();
    assert!(rest.contains(r#"pod "once" deleted"#), "{rest}");
    assert_eq!(code, Some(0), "{rest}");
}

fn debug(client: &Client<'_>, ns: &str) {
    let arguments = format!(
        "debug box -n {ns} -it --profile=general --image={IMAGE} --image-pull-policy=IfNotPresent --target=box -c look -- sh"
    );
    let mut shell = Terminal::open(25, 80, &client.command(&arguments));
    shell.see("pressing enter.");
    shell.keys("\r");
    shell.see("# ");
    // It sees the processes of its target.
    shell.keys("ps | grep 'sleep 360[0]'; exit 3\r");
    shell.see("sleep 3600");
    shell.end();
    let ended = "{.status.ephemeralContainerStatuses[0].state.terminated.exitCode}";
    client.run(&format!("wait pod/box -n {ns} --for=jsonpath={ended}=3 --timeout=60s"));
    client.expect(&format!("describe pod box -n {ns}"), "Ephemeral Containers:");
    client.expect(&format!("logs box -c look -n {ns}"), "sleep 3600");
    let restarted = client.run(&format!(
        "get pod box -n {ns} -o jsonpath={{.status.phase}}/{{.status.containerStatuses[*].restartCount}}"
    ));
    assert_eq!(restarted, "Running/0");
    let denied = client.fails(&format!(
        "debug box -n {ns} --profile=general --image={IMAGE} -c look -- true"
    ));
    assert!(denied.contains("look"), "{denied}");
}
