#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the cuslice authors
#
# usage: test_cli.py CUSLICE EMPTY_LIBRARY LIBDIR CUSLICE_WITH_OTHER_POLICY
#
# `cuslice run`: where it finds the library, what it makes of LD_PRELOAD and the limits, and its
# exit statuses. Runs copies of the real program in trees of their own, beside an empty library, so
# that what lies where is the test's choice. `cuslice explain`: by a build whose policy is policy/
# in the folder it is started in.
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

CUSLICE, LIBRARY, LIBDIR, EXPLAINER = map(pathlib.Path, sys.argv[1:5])
UUID = "12345678-9abc-def0-1234-56789abcdef0"
SHOW = 'echo "$LD_PRELOAD|$CUSLICE_MEMORY|$CUSLICE_COMPUTE"'


def tree(root, *library_folders):
    """Installs the program into ROOT/bin and the library into the folders; returns the program."""
    for folder in (root / "bin", *(root / folder for folder in library_folders)):
        folder.mkdir(parents=True, exist_ok=True)
    for folder in library_folders:
        shutil.copy(LIBRARY, root / folder / "libcuslice.so")
    return shutil.copy(CUSLICE, root / "bin/cuslice")


def run(program, *arguments, group="none", **environment):
    kept = {name: value for name, value in os.environ.items()
            if name != "LD_PRELOAD" and not name.startswith("CUSLICE_")}
    if group is not None:
        kept["CUSLICE_GROUP"] = group
    return subprocess.run([program, *arguments], env=kept | environment, capture_output=True,
                          text=True, check=False, timeout=60)


class Tree(unittest.TestCase):
    folders = (pathlib.Path("lib"),)

    def setUp(self):
        self.holder = tempfile.TemporaryDirectory()
        self.addCleanup(self.holder.cleanup)
        self.root = pathlib.Path(self.holder.name).resolve()
        self.program = tree(self.root, *self.folders)
        self.library = str(self.root / self.folders[0] / "libcuslice.so")

    def shown(self, *options, **environment):
        """LD_PRELOAD, CUSLICE_MEMORY and CUSLICE_COMPUTE as the program gets them."""
        done = run(self.program, "run", *options, "sh", "-c", SHOW, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.rstrip("\n").split("|")


class Installed(Tree):
    folders = (LIBDIR / "cuslice", pathlib.Path("lib"))

    def test_library_of_the_installation_comes_before_that_of_a_build(self):
        self.assertEqual(self.shown()[0], self.library)

    def test_library_is_found_through_a_symbolic_link_to_the_program(self):
        link = self.root / "elsewhere"
        link.symlink_to(self.program)
        done = run(link, "run", "sh", "-c", SHOW)
        self.assertEqual(done.stdout, f"{self.library}||\n")


class Built(Tree):
    def test_library_beside_the_program_is_found(self):
        self.assertEqual(self.shown(), [self.library, "", ""])

    def test_library_stands_in_front_of_what_was_preloaded(self):
        other = shutil.copy(LIBRARY, self.root / "other.so")
        self.assertEqual(self.shown(LD_PRELOAD=str(other))[0], f"{self.library}:{other}")

    def test_library_is_not_preloaded_twice(self):
        other = shutil.copy(LIBRARY, self.root / "other.so")
        for separator in (":", " "):
            there = f"{other}{separator}{self.library}"
            self.assertEqual(self.shown(LD_PRELOAD=there)[0], there)

    def test_similar_path_is_not_taken_for_the_library(self):
        other = shutil.copy(LIBRARY, f"{self.library}.1")
        self.assertEqual(self.shown(LD_PRELOAD=str(other))[0], f"{self.library}:{other}")

    def test_empty_preload_leaves_no_colon(self):
        self.assertEqual(self.shown(LD_PRELOAD="")[0], self.library)

    def test_run_within_run_is_preloaded_once(self):
        done = run(self.program, "run", "-m", "1GiB", self.program, "run", "-c", "50%",
                   "sh", "-c", SHOW)
        self.assertEqual(done.stdout, f"{self.library}|1GiB|50%\n")

    def test_limits_go_into_the_environment_as_written(self):
        self.assertEqual(self.shown("--memory", "4GiB", "--compute", "25%")[1:], ["4GiB", "25%"])
        self.assertEqual(self.shown("-m1.5GiB", "-c", "32sm")[1:], ["1.5GiB", "32sm"])
        self.assertEqual(self.shown("--memory=4GiB", "--")[1:], ["4GiB", ""])

    def test_limits_that_were_not_given_stay_what_they_are(self):
        self.assertEqual(self.shown("-m", "1GiB", CUSLICE_MEMORY="2GiB", CUSLICE_COMPUTE="5%")[1:],
                         ["1GiB", "5%"])

    def test_bad_limit_is_quoted_with_its_reason(self):
        for options, quoted in ((("-m", "4 GG"), '"4 GG": unknown unit'),
                                (("--memory=0",), '"0": zero'),
                                (("-c", "101%"), '"101%": more than 100%'),
                                (("--compute", "25"), '"25": a unit is missing')):
            done = run(self.program, "run", *options, "true")
            self.assertEqual(done.returncode, 125)
            self.assertIn(quoted, done.stderr)
            self.assertEqual(done.stdout, "")

    def test_command_keeps_its_own_options(self):
        done = run(self.program, "run", "-m", "1GiB", "echo", "-m", "x", "--compute", "--help")
        self.assertEqual((done.returncode, done.stdout), (0, "-m x --compute --help\n"))

    def test_status_of_the_command_is_passed_on(self):
        for status in (0, 1, 42, 125, 255):
            self.assertEqual(run(self.program, "run", "sh", "-c", f"exit {status}").returncode,
                             status)

    def test_command_killed_by_a_signal_is_killed_by_it(self):
        done = run(self.program, "run", "sh", "-c", "kill -TERM $$")
        self.assertEqual(done.returncode, -signal.SIGTERM)

    def test_signal_to_the_program_reaches_the_command(self):
        script = 'trap "echo heard; exit 7" USR1; echo ready; while :; do sleep 0.05; done'
        with subprocess.Popen([self.program, "run", "sh", "-c", script], text=True,
                              stdout=subprocess.PIPE) as process:
            self.assertEqual(process.stdout.readline(), "ready\n")
            process.send_signal(signal.SIGUSR1)
            self.assertEqual(process.stdout.readline(), "heard\n")
            self.assertEqual(process.wait(timeout=20), 7)

    def test_command_that_is_not_found_ends_with_127(self):
        for name in ("no-such-command-here", "/no/such/path"):
            done = run(self.program, "run", name)
            self.assertEqual(done.returncode, 127)
            self.assertIn(f'cannot run "{name}"', done.stderr)

    def test_command_that_cannot_be_run_ends_with_126(self):
        text = self.root / "text"
        text.write_text("no program\n")
        done = run(self.program, "run", text)
        self.assertEqual(done.returncode, 126)
        self.assertIn(str(text), done.stderr)

    def test_wrong_use_ends_with_125(self):
        for arguments in ((), ("no-such-subcommand",), ("run",), ("run", "--no-such-option"),
                          ("run", "-m"), ("--no-such-option",), ("help", "no-such-subcommand"),
                          ("run", "-i", "0", "true"), ("explain", "--no-such-option"),
                          ("explain", "word"), ("run", "--config"), ("run", "-b", "1h", "true")):
            done = run(self.program, *arguments)
            self.assertEqual(done.returncode, 125, arguments)
            self.assertNotEqual(done.stderr, "")
            self.assertEqual(done.stdout, "")

    def test_help_and_version_are_no_errors(self):
        for arguments, part in ((("--help",), "Usage: cuslice"), (("help",), "run"),
                                (("--version",), "cuslice 0."), (("run", "--help"), "--memory"),
                                (("help", "run"), "--dry-run"), (("help", "explain"), "--json"),
                                (("--help",), "CUSLICE_ON_ERROR")):
            done = run(self.program, *arguments)
            self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
            self.assertIn(part, done.stdout)


class Devices(Tree):
    def printed(self, *options, **environment):
        """The variables that --dry-run prints, but for LD_PRELOAD, which it has to print."""
        done = run(self.program, "run", "--dry-run", *options, **environment)
        self.assertEqual((done.returncode, done.stderr), (0, ""), options)
        lines = dict(line.split("=", 1) for line in done.stdout.splitlines())
        self.assertEqual(lines.pop("LD_PRELOAD"), self.library)
        return lines

    def test_limits_without_a_device_are_for_every_device(self):
        self.assertEqual(self.printed("-m", "4GiB", "-c", "25%", "-b", "5ms"),
                         {"CUSLICE_MEMORY": "4GiB", "CUSLICE_COMPUTE": "25%",
                          "CUSLICE_BURST": "5ms"})

    def test_limits_with_devices_are_for_these_wherever_they_stand(self):
        wanted = {"CUSLICE_MEMORY_0": "4GiB", "CUSLICE_MEMORY_3": "4GiB"}
        self.assertEqual(self.printed("-i", "0,3", "-m", "4GiB"), wanted)
        self.assertEqual(self.printed("-m", "4GiB", "--gpu=0,3"), wanted)

    def test_uuid_becomes_a_name_that_shells_pass_on(self):
        name = "CUSLICE_COMPUTE_GPU_" + UUID.replace("-", "_")
        self.assertEqual(self.printed("-i", f"GPU-{UUID}", "-c", "25%"), {name: "25%"})
        done = run(self.program, "run", "-i", f"GPU-{UUID}", "-c", "25%", "sh", "-c",
                   f'sh -c "echo ${name}"')
        self.assertEqual(done.stdout, "25%\n")

    def test_no_devices_and_wrong_ones_are_refused(self):
        for devices in ("", ",", "0,", ",0", "64", "-1", "all", "GPU-1", "0 1", UUID):
            done = run(self.program, "run", "--dry-run", f"--gpu={devices}", "-m", "1GiB")
            self.assertEqual((done.returncode, done.stdout), (125, ""), devices)
            self.assertIn(f'"{devices}": name devices', done.stderr)

    def test_devices_twice_are_refused(self):
        done = run(self.program, "run", "-i", "0", "-m", "1GiB", "-i", "1", "-m", "2GiB", "true")
        self.assertEqual(done.returncode, 125)
        self.assertIn("once", done.stderr)

    def test_blank_in_a_size_is_left_out(self):
        self.assertEqual(self.printed("-m", "4 GiB"), {"CUSLICE_MEMORY": "4GiB"})

    def test_dry_run_runs_nothing(self):
        there = self.root / "there"
        self.printed("-m", "1GiB", "--", "touch", str(there))
        self.assertFalse(there.exists())

    def test_printed_lines_are_words_for_env(self):
        text = run(self.program, "run", "--dry-run", "-m", "4 GiB").stdout
        done = run("env", *text.split(), "sh", "-c", SHOW)
        self.assertEqual(done.stdout, f"{self.library}|4GiB|\n")

    def test_config_file_goes_into_the_environment_as_an_absolute_path(self):
        file = self.root / "my.ini"
        file.write_text("[slice]\nmemory = 4GiB\n")
        relative = os.path.relpath(file)
        self.assertEqual(self.printed("--config", relative), {"CUSLICE_CONFIG": str(file)})

    def test_config_file_with_a_mistake_is_refused_with_its_line(self):
        file = self.root / "my.ini"
        file.write_text("[slice]\nmemory = 4G\n")
        for options in (("--config", str(file)), ("--config", str(self.root)),
                        ("--config", str(self.root / "nowhere"))):
            done = run(self.program, "run", *options, "true")
            self.assertEqual(done.returncode, 125)
            self.assertIn(options[1], done.stderr)
        self.assertIn(f"{file}:2: memory", run(self.program, "run", "--config", file).stderr)


class ExplainCase(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.root = pathlib.Path(holder.name)
        (self.root / "policy").mkdir()
        self.plain = self.root / "plain.ini"
        self.plain.write_text("")

    def policy(self, text):
        (self.root / "policy/site.ini").write_text(text)

    def explain(self, *options, status=0, **environment):
        environment = {"HOME": str(self.root), "PATH": "/bin"} | environment
        done = subprocess.run([EXPLAINER, "explain", *options], env=environment, cwd=self.root,
                              capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (status, ""), done.stdout)
        return done.stdout

    def setting(self, name, device="every", **environment):
        """What counts and what lost for a setting, as lists of (value, origin, reason)."""
        found = json.loads(self.explain("--json", **environment))
        rows = [row for row in found["settings"]
                if row["setting"] == name and row.get("device", device) == device]
        self.assertEqual(len(rows), 1)
        return tuple([(value["value"], value["origin"], value.get("reason"))
                      for value in rows[0][which]] for which in ("counts", "lost"))


class Explain(ExplainCase):
    def test_nothing_set_is_said(self):
        text = self.explain()
        self.assertRegex(text, r"every device\n  memory +no limit +by default\n")
        self.assertRegex(text, r"burst +20ms +by default\n")
        self.assertRegex(text, r"on_error +refuse +by default\n")
        self.assertIn("cuslice.ini (defaults, not read)", text)
        self.assertIn("not counted yet\n", text)
        self.assertNotIn("problems", text)

    def test_strictest_counts_and_the_others_say_why_not(self):
        self.policy("[slice]\nmemory = 4GiB\n")
        counts, lost = self.setting("memory", CUSLICE_MEMORY="8GiB")
        self.assertEqual(counts, [("4GiB", "policy/site.ini:2", None)])
        self.assertEqual(lost, [("8GiB", "CUSLICE_MEMORY", "not as strict as policy/site.ini:2")])
        text = self.explain(CUSLICE_MEMORY="8GiB")
        self.assertRegex(text, r"  memory    4GiB +policy/site.ini:2\n"
                               r" +8GiB +lost, CUSLICE_MEMORY: not as strict as policy/site.ini:2")

    def test_equal_values_count_once(self):
        self.policy("[slice]\ncompute = 0.25\n")
        counts, lost = self.setting("compute", CUSLICE_COMPUTE="25%")
        self.assertEqual(counts, [("0.25", "policy/site.ini:2", None)])
        self.assertEqual(lost, [("25%", "CUSLICE_COMPUTE", "the same as policy/site.ini:2")])

    def test_percents_and_bytes_both_count_where_no_device_is_known(self):
        self.policy("[slice]\nmemory = 50%\n")
        counts, lost = self.setting("memory", CUSLICE_MEMORY="8GiB")
        self.assertEqual([value for value, _, _ in counts], ["50%", "8GiB"])
        self.assertEqual(lost, [])
        self.assertIn("CUSLICE_MEMORY, if that is less on the device",
                      self.explain(CUSLICE_MEMORY="8GiB"))

    def test_defaults_lose_to_anything(self):
        self.plain.write_text("[slice]\nmemory = 1GiB\ncompute = 5%\n")
        environment = {"CUSLICE_CONFIG": "plain.ini", "CUSLICE_MEMORY": "8GiB"}
        counts, lost = self.setting("memory", **environment)
        self.assertEqual(counts, [("8GiB", "CUSLICE_MEMORY", None)])
        self.assertEqual(lost, [("1GiB", "plain.ini:2", "a default, and CUSLICE_MEMORY is set")])
        self.assertEqual(self.setting("compute", **environment)[0], [("5%", "plain.ini:3", None)])

    def test_device_has_its_own_and_every_devices_settings(self):
        counts, lost = self.setting("memory", "3", CUSLICE_MEMORY="2GiB", CUSLICE_MEMORY_3="1GiB")
        self.assertEqual(counts, [("1GiB", "CUSLICE_MEMORY_3", None)])
        self.assertEqual(lost[0][:2], ("2GiB", "CUSLICE_MEMORY"))
        self.policy(f"[device GPU-{UUID}]\nmemory = 3GiB\n")
        self.assertEqual(self.setting("memory", f"GPU-{UUID}")[0],
                         [("3GiB", "policy/site.ini:2", None)])
        self.assertIn(f"device GPU-{UUID}\n", self.explain())

    def test_how_a_device_is_shared_it_says_before_all(self):
        self.policy("[slice]\nmechanism = both\n[device 3]\nmechanism = time\n")
        counts, lost = self.setting("mechanism", "3")
        self.assertEqual(counts, [("time", "policy/site.ini:4", None)])
        self.assertEqual(lost, [("both", "policy/site.ini:2", "policy/site.ini:4 comes first")])
        counts, lost = self.setting("mechanism", "3", CUSLICE_MECHANISM_3="sm")
        self.assertEqual(counts, [("time", "policy/site.ini:4", None)])

    def test_why_a_device_that_alone_asks_for_auto_has_no_mps(self):
        said = self.explain(CUSLICE_COMPUTE="25%", CUSLICE_MECHANISM="sm",
                            CUSLICE_MECHANISM_1="auto")
        self.assertRegex(said, r"kept by +time +MPS was not asked for before cuInit; no report")

    def test_on_error_of_the_stricter_counts(self):
        self.policy("[slice]\non_error = refuse\n")
        counts, lost = self.setting("on_error", CUSLICE_ON_ERROR="warn")
        self.assertEqual(counts, [("refuse", "policy/site.ini:2", None)])
        self.assertEqual(lost, [("warn", "CUSLICE_ON_ERROR", "policy/site.ini:2 is stricter")])

    def test_log_of_the_variable_comes_first(self):
        self.policy("[slice]\nlog = error\n")
        counts, lost = self.setting("log", CUSLICE_LOG="debug")
        self.assertEqual(counts, [("debug", "CUSLICE_LOG", None)])
        self.assertEqual(lost, [("error", "policy/site.ini:2", "CUSLICE_LOG comes first")])

    def test_policy_that_limits_compute_alone_says_how_it_is_shared(self):
        names = {"CUSLICE_WEIGHT": "7", "CUSLICE_CLASS": "latency", "CUSLICE_BORROW": "yes",
                 "CUSLICE_QUANTUM": "2ms"}
        for name, value in names.items():
            with self.subTest(name=name):
                key = name.removeprefix("CUSLICE_").lower()
                self.policy("[slice]\nmemory = 1GiB\n")
                self.assertEqual(self.setting(key, **names)[0], [(value, name, None)])
                self.policy("[slice]\ncompute = 50%\n")
                reason = "the policy limits compute, so its own word alone counts"
                self.assertEqual(self.setting(key, **names), ([], [(value, name, reason)]))
        self.policy("[slice]\ncompute = 50%\nborrow = no\n")
        self.assertEqual(self.setting("borrow", **names)[0], [("no", "policy/site.ini:3", None)])

    def test_disable_turns_all_off_without_a_policy(self):
        environment = {"CUSLICE_DISABLE": "1", "CUSLICE_MEMORY": "1GiB"}
        self.assertTrue(self.explain(**environment).startswith("everything is off"))
        counts, lost = self.setting("memory", **environment)
        self.assertEqual((counts, lost[0][2]), ([], "everything is off (CUSLICE_DISABLE=1)"))

    def test_disable_loses_to_a_policy_that_limits(self):
        self.policy("[slice]\nmemory = 1GiB\n")
        counts, lost = self.setting("disable", CUSLICE_DISABLE="1")
        self.assertEqual((counts, lost), ([], [
            ("1", "CUSLICE_DISABLE", "the policy sets a limit, or is not understood")]))
        self.assertEqual(self.setting("memory", CUSLICE_DISABLE="1")[0],
                         [("1GiB", "policy/site.ini:2", None)])

    def test_problems_are_quoted_and_end_with_1(self):
        self.policy("[slice]\nmemory = 4G\n")
        text = self.explain(status=1, CUSLICE_MEMORIE="1", CUSLICE_ON_ERROR="warn")
        self.assertIn('policy/site.ini:2: memory = "4G": the unit is ambiguous', text)
        self.assertIn("CUSLICE_MEMORIE: no such setting", text)
        self.assertIn("so a program gets no GPU", text)

    def test_problems_that_are_only_warned_of_end_with_0(self):
        text = self.explain(CUSLICE_MEMORIE="1", CUSLICE_ON_ERROR="warn")
        self.assertIn("CUSLICE_MEMORIE: no such setting", text)
        self.assertNotIn("no GPU", text)

    def test_json_has_files_and_problems_and_holes(self):
        self.policy('[slice]\nmemory = "\\x"\n')
        found = json.loads(self.explain("--json", status=1, CUSLICE_LOG='"\\\n\x7f\udcff'))
        self.assertEqual(found["files"][0],
                         {"path": "policy/site.ini", "source": "policy", "read": True})
        self.assertEqual((found["refused"], found["disabled"], found["problem_count"]),
                         (True, False, 2))
        self.assertIn('CUSLICE_LOG=""\\???": use error', found["problems"][1])
        self.assertGreater(len(found["not_counted"]), 0)

    def test_many_problems_are_counted(self):
        self.policy("[slice]\n" + "x\n" * 20)
        self.assertIn("and 16 more", self.explain(status=1))


class ExplainGroup(ExplainCase):
    def group(self, **environment):
        return json.loads(self.explain("--json", **environment))["group"]

    def setUp(self):
        super().setUp()
        (self.root / "base").mkdir()
        self.folder = f"base/cuslice-{os.geteuid()}"

    def test_none_is_said(self):
        self.assertEqual(self.group(CUSLICE_GROUP="none"),
                         {"kind": "none", "origin": "CUSLICE_GROUP"})
        self.assertRegex(self.explain(CUSLICE_GROUP="none"),
                         r"\ngroup\n  key +none +CUSLICE_GROUP\ntenants\n")

    def test_disable_is_said(self):
        self.assertEqual(self.group(CUSLICE_DISABLE="1"),
                         {"kind": "none", "origin": "everything is off"})

    def test_name_leads_to_the_folder_of_the_user(self):
        path = f"{self.folder}/train.group"
        self.assertEqual(self.group(CUSLICE_GROUP="train"), {
            "kind": "name", "origin": "CUSLICE_GROUP", "key": "train", "segment": path,
            "exists": False, "used": True})
        self.assertRegex(self.explain(CUSLICE_GROUP="train"),
                         rf"  key +train +CUSLICE_GROUP\n  segment +{path}, not there yet\n")
        self.assertEqual(os.listdir(self.root / "base"), [])
        (self.root / self.folder).mkdir(0o700)
        (self.root / path).touch()
        self.assertTrue(self.group(CUSLICE_GROUP="train")["exists"])

    def test_policy_comes_before_the_variable(self):
        self.policy("[slice]\ngroup = /run\n")
        group = self.group(CUSLICE_GROUP="none")
        self.assertEqual((group["kind"], group["origin"], group["segment"]),
                         ("path", "policy/site.ini:2", "/run/cuslice.group"))
        self.assertEqual(self.setting("group", CUSLICE_GROUP="none")[1],
                         [("none", "CUSLICE_GROUP", "policy/site.ini:2 comes first")])

    def test_folder_that_is_not_trusted_is_said_with_what_would_be_right(self):
        (self.root / self.folder).mkdir()
        (self.root / self.folder).chmod(0o777)
        problem = self.group(CUSLICE_GROUP="train")["problem"]
        for part in (self.folder, f"user {os.geteuid()}", "mode 0777", "chmod go-w"):
            self.assertIn(part, problem)
        self.assertIn(f"  cannot be joined: {problem}\n", self.explain(CUSLICE_GROUP="train"))

    def test_container_has_a_group_that_counts_where_anything_is_limited(self):
        inside = ("unshare", "-rpf", "--mount-proc", EXPLAINER, "explain", "--json")
        groups = []
        for limits in ({}, {"CUSLICE_MEMORY": "1GiB"}):
            done = subprocess.run(inside, cwd=self.root, capture_output=True, check=False,
                                  timeout=60, env={"PATH": os.environ["PATH"]} | limits)
            if b"unshare:" in done.stderr:
                self.skipTest("no PID namespace can be made here")
            groups.append(json.loads(done.stdout)["group"])
        self.assertEqual([(group["kind"], group["origin"], group["used"]) for group in groups],
                         [("container", "the PID namespace", False),
                          ("container", "the PID namespace", True)])
        for group in groups:
            self.assertRegex(group["segment"], r"^base/cuslice-0/pidns-[0-9a-f]+-[0-9]+.group$")


class Elsewhere(unittest.TestCase):
    def test_library_in_a_path_with_a_separator_is_refused(self):
        for name in ("with space", "with:colon"):
            with tempfile.TemporaryDirectory() as holder:
                program = tree(pathlib.Path(holder) / name, pathlib.Path("lib"))
                done = run(program, "run", "true")
                self.assertEqual(done.returncode, 125)
                self.assertIn("LD_PRELOAD cannot name", done.stderr)

    def test_program_without_library_says_where_it_looked(self):
        with tempfile.TemporaryDirectory() as holder:
            done = run(tree(pathlib.Path(holder)), "run", "true")
            self.assertEqual(done.returncode, 125)
            self.assertIn("libcuslice.so was found neither", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
