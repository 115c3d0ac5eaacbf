#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vinicd as a process: sockets, signals, systemd, the configuration file."""
import os
import re
import resource
import signal
import socket
import stat
import subprocess
import sys
import time

import house

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")


class Sockets(house.Case):
    def mode(self):
        return stat.S_IMODE(os.stat(self.path).st_mode)

    def test_only_its_user_reaches_the_socket_unless_told_otherwise(self):
        self.start()
        self.assertEqual(self.mode(), 0o600)

    def test_a_group_may_reach_it(self):
        self.start("--group", str(os.getegid()))
        self.assertEqual(self.mode(), 0o660)
        self.assertEqual(os.stat(self.path).st_gid, os.getegid())

    def test_the_mode_may_be_chosen(self):
        self.start("--mode", "0666")
        self.assertEqual(self.mode(), 0o666)

    def test_two_on_one_socket_are_one_too_many(self):
        first = self.start()
        said = self.refused()
        self.assertIn("another vinicd serves " + self.path, said)
        self.assertEqual(self.connect().ask(command="device")["process_id"], first.pid)

    def test_a_stale_socket_is_replaced(self):
        first = self.start()
        first.end(signal.SIGKILL)
        self.assertTrue(os.path.exists(self.path))
        second = self.start()
        self.assertEqual(self.connect().ask(command="device")["process_id"], second.pid)

    def test_a_socket_of_another_program_is_left_alone(self):
        for kind in (socket.SOCK_SEQPACKET, socket.SOCK_STREAM):
            with socket.socket(socket.AF_UNIX, kind) as other:
                other.bind(self.path)
                other.listen()
                self.assertIn("somebody listens", self.refused())
                self.assertTrue(os.path.exists(self.path))
            os.unlink(self.path)

    def test_a_file_that_is_no_socket_is_left_alone(self):
        self.write("socket", "precious")
        self.assertIn("is no socket", self.refused())
        with open(self.path, encoding="utf-8") as file:
            self.assertEqual(file.read(), "precious")

    def test_a_socket_whose_directory_is_missing(self):
        self.path = os.path.join(self.directory, "no", "socket")
        self.assertIn("does its directory exist?", self.refused())

    def test_a_path_that_is_too_long(self):
        self.path = os.path.join(self.directory, "x" * 200)
        self.assertIn("103 at most", self.refused())

    def test_whoever_waits_for_the_socket_can_connect(self):
        for _ in range(20):
            daemon = self.start(ready=False)
            while not os.path.exists(self.path):
                self.assertIsNone(daemon.process.poll(), daemon.log())
            self.connect().close()
            self.assertEqual(daemon.end(), 0)

    def test_many_that_start_at_once_leave_one(self):
        started = [self.start(ready=False) for _ in range(5)]
        deadline = time.monotonic() + house.PATIENCE_SECONDS
        while sum(d.process.poll() is None for d in started) > 1:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        left = [d for d in started if d.process.poll() is None]
        left[0].wait_until_ready(self)
        self.assertEqual(self.connect().ask(command="device")["process_id"], left[0].pid)
        self.assertEqual({d.process.returncode for d in started if d is not left[0]}, {1})

    @house.needs_root
    def test_it_runs_as_an_ordinary_user(self):
        os.chmod(self.directory, 0o777)
        daemon = self.start(user=house.NOBODY, group=house.NOBODY, extra_groups=[])
        self.assertEqual(os.stat(self.path).st_uid, house.NOBODY)
        self.client(1, 0)
        self.assertEqual(daemon.end(), 0)

    @house.needs_root
    def test_what_another_users_killed_vinicd_has_left_is_named(self):
        os.chmod(self.directory, 0o777)
        self.start().end(signal.SIGKILL)
        said = self.refused(user=house.NOBODY, group=house.NOBODY, extra_groups=[])
        self.assertIn(self.path + ".lock is another user's", said)

    @house.needs_root
    def test_a_group_that_one_is_no_member_of(self):
        os.chmod(self.directory, 0o777)
        said = self.refused("--group", "0", user=house.NOBODY, group=house.NOBODY, extra_groups=[])
        self.assertIn("be a member of it", said)
        self.assertFalse(os.path.exists(self.path))


class Signals(house.Case):
    def test_sigterm_and_sigint_end_it_cleanly(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            daemon = self.start()
            self.assertEqual(daemon.end(number), 0, daemon.log())
            self.assertEqual(daemon.told(), "STOPPING=1")
            self.assertEqual([n for n in os.listdir(self.directory) if n.startswith("socket")], [])
            self.assertIn("vinicd ends", daemon.log())

    def test_a_client_sees_it_end(self):
        daemon = self.start()
        client = self.client(1, 3)
        self.assertEqual(daemon.end(), 0)
        self.assertTrue(client.has_hung_up())

    def test_the_next_one_may_begin_while_the_last_one_drains(self):
        if house.REAL:
            self.skipTest("a real device has nothing to drain here")
        first = self.start("--drain", "600s", environment={"VINICD_DOUBLE": "stuck"})
        first.send(signal.SIGTERM)
        self.eventually(lambda: os.path.exists(self.path), False)
        self.start()
        self.assertIsNone(first.process.poll())
        self.assertEqual(first.end(), 0)
        self.assertIn("told again to end", first.log())
        self.assertTrue(os.path.exists(self.path), "the second one's socket was removed by the first")

    def test_sighup_reads_the_file_again(self):
        config = self.write("c.toml", '[function.vf0]\ncap = "1GB/s"\n')
        daemon = self.start("--config", config)
        self.assertEqual(self.function("vf0")["cap_bytes_per_second"], 10 ** 9)
        self.write("c.toml", 'queues = 7\n[function.vf0]\nweight = 5\n[function.vf1]\nguarantee = "300MB/s"\n')
        daemon.send(signal.SIGHUP)
        self.assertRegex(daemon.told(), r"^RELOADING=1\nMONOTONIC_USEC=\d+$")
        self.assertEqual(daemon.told(), "READY=1")
        vf0, vf1 = self.function("vf0"), self.function("vf1")
        self.assertEqual((vf0["cap_bytes_per_second"], vf0["weight"]), (0, 5))
        self.assertEqual(vf1["guarantee_bytes_per_second"], 300 * 10 ** 6)
        self.assertIn("queues was the initial value and is 7 in the file now: that takes a restart", daemon.log())

    def test_a_guarantee_may_move_from_one_function_to_another(self):
        config = self.write("c.toml", '[function.vf0]\nguarantee = "1GB/s"\n[function.vf1]\nguarantee = "7GB/s"\n')
        daemon = self.start("--config", config)
        for first, second in (("7GB/s", "1GB/s"), ("1GB/s", "7GB/s")):
            self.write("c.toml", f'[function.vf0]\nguarantee = "{first}"\n[function.vf1]\nguarantee = "{second}"\n')
            daemon.send(signal.SIGHUP)
            daemon.told()
            self.assertEqual(daemon.told(), "READY=1")
            self.assertEqual(self.function("vf0")["guarantee_bytes_per_second"], int(first[0]) * 10 ** 9)
            self.assertEqual(self.function("vf1")["guarantee_bytes_per_second"], int(second[0]) * 10 ** 9)

    def reload(self, daemon, text):
        self.write("c.toml", text)
        daemon.send(signal.SIGHUP)
        daemon.told()
        self.assertEqual(daemon.told(), "READY=1")

    def test_a_guarantee_may_move_from_a_function_that_goes_while_it_is_used(self):
        texts = [f'[function.vf{goes}]\npresent = false\n[function.vf{stays}]\nguarantee = "7GB/s"\n'
                 for goes, stays in ((1, 0), (0, 1))]
        daemon = self.start("--config", self.write("c.toml", texts[0]))
        for i in range(20):
            stays = i % 2
            users = [self.client(1 + stays, context) for context in range(32)]
            self.reload(daemon, texts[1 - stays])
            self.assertNotIn("error: ", daemon.log())
            for user in users:
                self.assertTrue(user.has_hung_up())
                user.close()
            self.eventually(lambda: self.function(f"vf{1 - stays}").get("guarantee_bytes_per_second"), 7 * 10 ** 9)

    def test_what_is_still_being_taken_away_is_added_a_moment_later(self):
        # The double named `slow` is still taking a function away for a while.
        daemon = self.start("--config", self.write("c.toml", ""), environment={"VINICD_DOUBLE": "slow"})
        self.reload(daemon, "[function.vf0]\npresent = false\n[function.vf1]\npresent = false\n")
        self.reload(daemon, "[function.vf0]\nweight = 5\n[function.vf1]\nweight = 5\n")
        # What was said last is what counts.
        self.reload(daemon, "[function.vf0]\nweight = 7\nmemory = \"128MiB\"\n[function.vf1]\npresent = false\n")
        self.eventually(lambda: self.function("vf0").get("weight"), 7)
        self.assertEqual(self.function("vf0")["memory_limit_bytes"], 128 << 20)
        self.assertIn("was removed", self.function("vf1")["error"]["message"])
        self.eventually(lambda: len(re.findall(r"function vf0: added, as the file says, asked by", daemon.log())), 1)
        self.assertNotIn("error: ", daemon.log())

    def test_a_file_that_has_become_wrong_changes_nothing(self):
        config = self.write("c.toml", '[function.vf0]\ncap = "1GB/s"\n')
        daemon = self.start("--config", config)
        self.write("c.toml", '[function.vf0]\ncap = "2GB/s"\nwieght = 3\n')
        daemon.send(signal.SIGHUP)
        daemon.told()
        self.assertEqual(daemon.told(), "READY=1")
        self.assertEqual(self.function("vf0")["cap_bytes_per_second"], 10 ** 9)
        self.assertIn(f"{config}:3: unknown key 'wieght' in [function.vf0]: did you mean 'weight'?", daemon.log())
        self.assertIn("the configuration stays as it was", daemon.log())


class Systemd(house.Case):
    def activated(self, kind=socket.SOCK_SEQPACKET, listens=True):
        """A vinicd that was handed a socket as file 3."""
        with socket.socket(socket.AF_UNIX, kind) as listener:
            listener.bind(self.path)
            if listens:
                listener.listen()
            number = listener.fileno()
            daemon = house.Daemon(
                self, ["-c", f'exec 3<&{number}; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" --window 512MiB', house.VINICD],
                program="/bin/bash", pass_fds=[number])
            self.daemons.append(daemon)
            self.addCleanup(self.finish, daemon)
            return daemon

    def test_it_serves_the_socket_that_it_was_handed(self):
        daemon = self.activated()
        daemon.wait_until_ready(self)
        self.client(2, 0)
        self.assertEqual(daemon.end(), 0)
        self.assertTrue(os.path.exists(self.path), "the socket is the service manager's")

    def test_a_wrong_socket_is_refused(self):
        for kind, listens in ((socket.SOCK_STREAM, True), (socket.SOCK_SEQPACKET, False)):
            daemon = self.activated(kind, listens)
            self.assertEqual(daemon.process.wait(house.PATIENCE_SECONDS), 1)
            self.assertIn("ListenSequentialPacket=", daemon.log())
            os.unlink(self.path)

    def test_signs_of_life(self):
        daemon = self.start(environment={"WATCHDOG_USEC": "100000"})
        self.assertEqual([daemon.told() for _ in range(3)], ["WATCHDOG=1"] * 3)

    def test_signs_of_life_without_a_descriptor_left(self):
        daemon = self.start(environment={"WATCHDOG_USEC": "100000"})
        taken = {int(n) for n in os.listdir(f"/proc/{daemon.pid}/fd")}
        none_free = min(set(range(len(taken) + 1)) - taken)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (none_free, none_free))
        daemon.notify.setblocking(False)
        try:
            while True:
                daemon.told()
        except BlockingIOError:
            pass
        daemon.notify.settimeout(house.PATIENCE_SECONDS)
        self.assertEqual([daemon.told() for _ in range(12)], ["WATCHDOG=1"] * 12)

    def test_whom_it_cannot_tell_anything_is_said(self):
        daemon = self.start(ready=False, environment={"NOTIFY_SOCKET": "/" + "x" * 200})
        self.eventually(lambda: "the service manager cannot be told anything" in daemon.log(), True)
        self.eventually(lambda: os.path.exists(self.path), True)
        self.assertEqual(daemon.end(), 0)

    def test_lines_for_the_journal_have_a_level_and_no_time(self):
        log = self.write("journal", "")
        status = os.stat(log)
        with open(log, "w", encoding="utf-8") as file:
            process = subprocess.Popen([house.VINICD, "--socket", self.path], stderr=file,
                                       env=dict(os.environ, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}"))
        self.addCleanup(process.kill)

        def lines():
            with open(log, encoding="utf-8") as file:
                return file.read().splitlines()
        self.eventually(lambda: len(lines()) > 0, True)
        process.terminate()
        self.assertEqual(process.wait(house.PATIENCE_SECONDS), 0)
        for line in lines():
            self.assertRegex(line, r"^<6>\w")

    def test_other_lines_have_a_time_and_a_level(self):
        daemon = self.start()
        for line in daemon.log().splitlines():
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (error|warning|info|debug): ")

    def test_the_units_name_what_there_is(self):
        units = ""
        for name in ("vinicd.service", "vinicd.socket"):
            with open(os.path.join(ROOT, "packaging", name), encoding="utf-8") as file:
                units += file.read()
        self.assertIn("ListenSequentialPacket=/run/vinic/vinicd.socket", units)
        for option in re.findall(r"ExecStart=.*", units)[0].split()[1:]:
            if option.startswith("--"):
                self.assertIn(option, subprocess.run([house.VINICD, "--help"], capture_output=True, text=True,
                                                     check=True).stdout)


class Words(house.Case):
    def run_it(self, *arguments):
        return subprocess.run([house.VINICD, *arguments], capture_output=True, text=True,
                              timeout=house.PATIENCE_SECONDS, check=False)

    def test_the_example_is_in_order_and_has_every_option(self):
        example = os.path.join(ROOT, "packaging", "vinicd.toml")
        done = self.run_it("--check-config", "--config", example)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        with open(example, encoding="utf-8") as file:
            text = file.read()
        shown = set(re.findall(r"^#? ?([a-z-]+) = ", text, re.MULTILINE))
        options = set(re.findall(r"^  --([a-z-]+)", self.run_it("--help").stdout, re.MULTILINE)) - {"check-config"}
        of_functions = {"guarantee", "cap", "weight", "priority", "reserved-queues", "memory", "owner", "group",
                        "enabled", "names", "present"}
        self.assertEqual(shown, options | of_functions)

    def test_the_manual_page_has_every_option(self):
        with open(os.path.join(ROOT, "man", "vinicd.8"), encoding="utf-8") as file:
            told = set(re.findall(r"Fl -([a-z-]+)", file.read()))
        self.assertEqual(told, set(re.findall(r"--([a-z-]+)", self.run_it("--help").stdout)) - {"help", "version"})

    def test_the_example_is_in_order_with_every_comment_taken_away(self):
        with open(os.path.join(ROOT, "packaging", "vinicd.toml"), encoding="utf-8") as file:
            text = re.sub(r"^# ?(?=[a-z-]+ = |\[)", "", file.read(), flags=re.MULTILINE)
        text = text.replace('"vinic"', '"root"').replace('"alice"', '"root"').replace('"tenants"', '"root"')
        done = self.run_it("--check-config", "--config", self.write("all.toml", text))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_what_the_file_says_at_the_start_is_no_news(self):
        daemon = self.start("--config", self.write("c.toml", "[function.vf0]\nweight = 3\n"))
        self.assertEqual(self.function("vf0")["weight"], 3)
        self.assertEqual(daemon.end(), 0)
        self.assertNotIn("changed", daemon.log())

    def test_the_command_line_beats_the_file(self):
        config = self.write("c.toml", "functions = 3\nqueues = 5\n")
        self.start("--config", config, "--queues", "9")
        device = self.connect().ask(command="device")
        self.assertEqual((device["functions"], device["queues"]), (4, 9))

    def test_a_file_may_need_the_command_line(self):
        config = self.write("c.toml", "[function.vf20]\nweight = 3\n")
        done = self.run_it("--check-config", "--config", config)
        self.assertEqual(done.returncode, 1)
        self.assertIn("c.toml:1: function vf20 is configured", done.stderr)
        self.assertEqual(self.run_it("--check-config", "--config", config, "--functions", "21").returncode, 0)

    def test_a_check_says_what_a_start_would(self):
        self.assertEqual(self.run_it("--check-config", "--socket", "/x").stdout, "the configuration is in order\n")
        self.assertIn("it names no socket", self.run_it("--check-config").stdout)
        for address in ("everywhere", "300.1.2.3:9469", "127.0.0.1:0"):
            done = self.run_it("--check-config", "--openmetrics", address)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn("openmetrics " + address + ": write a port", done.stderr)
        done = self.run_it("--check-config", "--config", self.write("c.toml", "mode = 0660\n"))
        self.assertIn('c.toml:1: ', done.stderr)
        self.assertIn('such as mode = "0660"', done.stderr)

    def test_what_is_not_understood_is_2(self):
        for arguments, word in ((["--functions", "0"], "1 to 256"), (["--paint"], "--paint"), (["extra"], "extra"),
                                (["--window", "3GiB"], "power of two"), (["--functions"], "--functions"),
                                (["--policy", "luck"], "hclock, round-robin, fifo")):
            done = self.run_it(*arguments)
            self.assertEqual((done.returncode, done.stdout), (2, ""), arguments)
            self.assertIn(word, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_what_cannot_be_done_is_1(self):
        self.assertIn("no socket: give --socket PATH", self.refused(path=False))
        self.assertIn("cannot be read", self.refused("--config", os.path.join(self.directory, "missing")))
        self.assertIn("write a port", self.refused("--openmetrics", "everywhere"))

    def test_the_version(self):
        self.assertRegex(self.run_it("--version").stdout, r"^vinicd \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    house.main(sys.argv)
