"""Tests of the module. FABRIC_GOSSIP_LIBRARY is the library; FABRIC_GOSSIP_TOOL creates organisations."""

import asyncio
import copy
import gc
import inspect
import logging
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import typing
import unittest
from datetime import datetime, timedelta, timezone
from pathlib import Path
from unittest import mock

import fabric_gossip as gossip
from fabric_gossip import _c, _core

TEN = 10
_folder = tempfile.TemporaryDirectory()
ORGS = Path(_folder.name) / "peerOrganizations"


def setUpModule() -> None:
    make = [os.environ["FABRIC_GOSSIP_TOOL"], "crypto", _folder.name, "--orgs", "2", "--peers", "2"]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)


def tearDownModule() -> None:
    _folder.cleanup()


def home(peer: int = 0, org: int = 1) -> Path:
    domain = f"org{org}.example.com"
    return ORGS / domain / "peers" / f"peer{peer}.{domain}"


def crypto(peer: int = 0, org: int = 1) -> gossip.Crypto:
    return gossip.Crypto.load(home(peer, org) / "msp", f"Org{org}MSP")


def config(peer: int = 0, org: int = 1, **given: object) -> gossip.Config:
    return gossip.Config(listen="127.0.0.1:0", tls=gossip.Tls.load(home(peer, org) / "tls"), **given)


def comm(peer: int = 0, org: int = 1) -> gossip.Comm:
    return gossip.Comm(crypto(peer, org), config(peer, org))


def block(data: bytes = b"data", number: int = 1) -> gossip.Message:
    return gossip.Message.block("mychannel", number, data)


# Without a C core in the library these tests are skipped, and fail with STRICT=1.
needs_c_core = unittest.skipUnless(
    os.environ.get("STRICT") == "1" or "c_core.retries" in gossip.Config(), "SKIPPED: the library has no C core"
)


class Pair(unittest.TestCase):
    """Two peers: `near` sends, `far` receives."""

    def setUp(self) -> None:
        self.near, self.far = comm(0), comm(1)
        self.addCleanup(self.near.close)
        self.addCleanup(self.far.close)

    def send(self, *data: bytes) -> None:
        for each in data:
            self.near.send(block(each), self.far.local_addr)


class Transports(unittest.TestCase):
    @needs_c_core
    def test_peers_over_each_transport_understand_each_other(self) -> None:
        for dialler in ("http2", "c-core"):
            for listener in ("http2", "c-core"):
                with self.subTest(dialler=dialler, listener=listener), \
                        gossip.Comm(crypto(0), config(0, transport=dialler)) as near, \
                        gossip.Comm(crypto(1), config(1, transport=listener)) as far:
                    far.accept().set_callback(lambda event: event.ack())
                    self.assertEqual(near.send_with_ack(block(), far.local_addr, TEN), 1)

    def test_a_transport_that_does_not_exist_is_an_invalid_argument(self) -> None:
        with self.assertRaises(gossip.Error) as raised:
            gossip.Config(transport="tcp")
        self.assertEqual(raised.exception.code, gossip.Code.INVALID_ARGUMENT)
        self.assertIn("http2 or c-core", raised.exception.message)

    @needs_c_core
    def test_settings_of_one_transport_do_not_affect_the_other_one(self) -> None:
        wrong = {"http2.stream_window": 1}
        with self.assertRaises(gossip.Error) as raised:
            gossip.Comm(crypto(0), config(0, transport="http2", settings=wrong))
        self.assertEqual(raised.exception.code, gossip.Code.CONFIG)
        gossip.Comm(crypto(0), config(0, transport="c-core", settings=wrong)).close()


class Errors(Pair):
    def test_a_failure_tells_code_peer_and_step(self) -> None:
        self.far.accept().set_callback(lambda event: event.ack())
        with self.assertRaises(gossip.Error) as raised:
            self.near.send_with_ack(block(), [self.far.local_addr, "127.0.0.1:1"], TEN, min_ack=2)
        (part,) = raised.exception.parts
        self.assertEqual(part.code, gossip.Code.UNREACHABLE)
        self.assertEqual((part.peer, part.step, part.peer_index), ("127.0.0.1:1", "dial", 1))
        self.assertIn(part.reason, part.message)
        self.assertEqual(str(part), part.message)

    def test_limits_of_time_are_timeouts_and_an_end_is_stopped(self) -> None:
        inbox = self.far.accept()
        with self.assertRaises(TimeoutError) as raised:
            inbox.recv(0.001)
        self.assertEqual(raised.exception.code, gossip.Code.TIMEOUT)
        self.far.stop()
        with self.assertRaises(gossip.Stopped):
            inbox.recv()

    def test_a_peer_can_refuse_a_message(self) -> None:
        inbox = self.far.accept()
        inbox.set_callback(lambda event: event.ack("not today"))
        with self.assertRaises(gossip.Nack) as raised:
            self.near.send_with_ack(block(), self.far.local_addr, TEN)
        self.assertEqual(raised.exception.parts[0].reason, "not today")

    def test_what_ctypes_would_cut_off_is_refused(self) -> None:
        settings = gossip.Config()
        for wrong in (lambda: gossip.Message.block("my\0channel", 1, b""), lambda: block(number=-1),
                      lambda: block(number=2**64), lambda: settings.__setitem__("comm.dial_timeout", -1),
                      lambda: self.near.connect("127.0.0.1:1", -1)):
            self.assertRaises(ValueError, wrong)

    def test_an_argument_of_the_wrong_type_is_named_with_the_right_one(self) -> None:
        settings, inbox = gossip.Config(), self.far.accept()
        wrong = {
            "expected bytes, not str": lambda: gossip.Message.block("mychannel", 1, "text"),
            "expected bytes, not NoneType": lambda: block(None),
            r"expected text \(str\), not int": lambda: gossip.Crypto.load(5, "Org1MSP"),
            r"expected text \(str\), not NoneType": lambda: gossip.Message.block(None, 1, b""),
            "'str' object cannot be interpreted as an integer": lambda: block(number="1"),
            "'float' object cannot be interpreted as an integer": lambda: block(number=1.5),
            "comm.dial_timeout takes a whole number": lambda: settings.__setitem__("comm.dial_timeout", 1.5),
            "expected a time span as seconds or a timedelta, not str": lambda: self.near.flush("1s"),
            "expected a Crypto, not Config": lambda: gossip.Comm(settings, crypto()),
            "expected a Tls, not str": lambda: gossip.Config(tls="tls"),
            "expected a Message, not bytes": lambda: self.near.send(b"data", self.far.local_addr),
            "expected a peer as str.*, not int": lambda: self.near.send(block(), 5),
            "predicate must be a function, not int": lambda: self.far.accept(5),
            "callback must be a function, not NoneType": lambda: inbox.set_callback(None),
            "callback must be a function, not int": lambda: gossip.log(5),
            "block_verifier must be a function, not bool": lambda: gossip.Config(block_verifier=True),
        }
        for text, call in wrong.items():
            with self.assertRaisesRegex(TypeError, text):
                call()

    def test_a_wrong_argument_is_the_librarys_error(self) -> None:
        with self.assertRaises(gossip.Error) as raised:
            self.near.send(block(), gossip.Peer())
        self.assertEqual(raised.exception.code, gossip.Code.INVALID_ARGUMENT)

    def test_numbers_of_a_later_version_are_no_error(self) -> None:
        code = gossip.Code(4711)
        self.assertEqual((code, code.name), (4711, "UNKNOWN_4711"))


class Settings(unittest.TestCase):
    @needs_c_core
    def test_settings_have_names_and_units(self) -> None:
        settings = gossip.Config(settings={"comm.dial_timeout": timedelta(seconds=1.5), "c_core.retries": True})
        self.assertEqual(settings["comm.dial_timeout"], 1_500_000_000)
        self.assertEqual(settings["c_core.retries"], 1)
        names = list(settings)
        self.assertEqual(len(names), len(set(names)))
        self.assertTrue(all(settings[name] >= 0 for name in names))
        with self.assertRaises(gossip.Error) as raised:
            settings["comm.dial"] = 1
        self.assertIn("comm.dial", raised.exception.message)

    def test_seconds_instead_of_nanoseconds_are_refused(self) -> None:
        settings = gossip.Config()
        with self.assertRaisesRegex(gossip.Error, "comm.dial_timeout is a time span in nanoseconds.* 3000000000"):
            settings["comm.dial_timeout"] = 3
        self.assertEqual(settings["comm.dial_timeout"], 3_000_000_000)

    def test_a_setting_counts(self) -> None:
        small = gossip.Comm(crypto(), gossip.Config(settings={"comm.max_message_size": 100}))
        with small, self.assertRaises(gossip.Error) as raised:
            small.send(block(bytes(101)), "127.0.0.1:1")
        self.assertEqual(raised.exception.code, gossip.Code.TOO_LARGE)


class Receiving(Pair):
    def test_iteration_ends_with_the_comm(self) -> None:
        inbox = self.far.accept()
        self.near.send_tracked(block(b"one"), self.far.local_addr)
        received = []
        for event in inbox:
            received.append(event.message.data)
            event.ack()
            self.far.stop()
        self.assertEqual(received, [b"one"])

    def test_a_predicate_chooses_and_one_that_raises_gets_nothing(self) -> None:
        def picky(event: gossip.Event) -> bool:
            return {b"good": True, b"bad": False}[event.message.data]

        chosen, everything = self.far.accept(picky), self.far.accept()
        with self.assertLogs("fabric_gossip", logging.ERROR) as logged:
            self.send(b"bad", b"unheard of", b"good")
            self.assertEqual(chosen.recv(TEN).message.data, b"good")
        self.assertEqual([next(iter(everything)).message.data for _ in range(3)], [b"bad", b"unheard of", b"good"])
        self.assertIn("KeyError", logged.output[0])

    def test_a_selector_waits_for_gossip(self) -> None:
        inbox = self.far.accept()
        with selectors.DefaultSelector() as selector:
            selector.register(inbox, selectors.EVENT_READ)
            self.assertEqual(list(inbox.ready()), [])  # It may be readable once with nothing to receive.
            self.assertEqual(selector.select(0), [])
            self.send(b"one", b"two")
            received = []
            while len(received) < 2:
                self.assertTrue(selector.select(TEN))
                received += [event.message.data for event in inbox.ready()]
            self.assertEqual((received, selector.select(0)), ([b"one", b"two"], []))

    def test_asyncio_waits_for_gossip(self) -> None:
        async def receive() -> bytes:
            inbox, loop = self.far.accept(), asyncio.get_running_loop()
            arrived = loop.create_future()
            loop.add_reader(inbox.fileno(), lambda: [arrived.set_result(event) for event in inbox.ready()])
            self.send(b"one")
            event = await asyncio.wait_for(arrived, TEN)
            loop.remove_reader(inbox.fileno())
            return event.message.data

        self.assertEqual(asyncio.run(receive()), b"one")

    def test_a_callback_gets_everything_even_after_it_raised(self) -> None:
        received, ended = [], threading.Event()

        def callback(event: gossip.Event) -> None:
            received.append(event)
            if len(received) == 1:
                raise RuntimeError("the first one is too much")
            self.far.stop()

        inbox = self.far.accept()
        inbox.set_callback(callback, ended.set)
        with self.assertLogs("fabric_gossip", logging.ERROR):
            self.send(b"one", b"two")
            self.assertTrue(ended.wait(TEN))
        # A callback's arguments can be kept.
        self.assertEqual([event.message.data for event in received], [b"one", b"two"])

    def test_a_callback_may_close_its_subscription(self) -> None:
        closed = threading.Event()
        inbox = self.far.accept()
        inbox.set_callback(lambda event: (inbox.close(), closed.set()))
        self.send(b"one", b"two")
        self.assertTrue(closed.wait(TEN))

    def test_closing_wakes_who_waits(self) -> None:
        inbox, ended = self.far.accept(), []
        waiting = threading.Thread(target=lambda: ended.append(list(inbox)))
        waiting.start()
        inbox.close()
        waiting.join(TEN)
        self.assertFalse(waiting.is_alive())

    def test_a_signal_interrupts_every_wait(self) -> None:
        def alarm(*_: object) -> None:
            raise KeyboardInterrupt

        self.addCleanup(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, alarm))
        silent = socket.create_server(("127.0.0.1", 0))  # accepts connections, and never answers
        self.addCleanup(silent.close)
        nobody = f"127.0.0.1:{silent.getsockname()[1]}"
        # No limit of the library ends these waits before the test's.
        long = {"comm.dial_timeout": timedelta(hours=1), "comm.conn_timeout": timedelta(hours=1)}
        patient = gossip.Comm(crypto(0), config(0, settings=long))
        node = gossip.Node(crypto(1), config(1))
        tracked = self.near.send_tracked(block(), self.far.local_addr)
        waits = {
            "recv": lambda: self.near.accept().recv(),
            "iteration": lambda: list(self.near.accept()),
            "wait_for_members": lambda: node.wait_for_members(1, None),
            "send_with_ack": lambda: self.near.send_with_ack(block(), self.far.local_addr, None),
            "Ack.wait": tracked.wait,
            "connect": lambda: patient.connect(nobody, None),
            "probe": lambda: patient.probe(nobody),
            "handshake": lambda: patient.handshake(nobody),
            "flush": lambda: (patient.send(block(), nobody), patient.flush(None)),
        }
        for name, wait in waits.items():
            with self.subTest(name):
                signal.setitimer(signal.ITIMER_REAL, 0.05)
                self.assertRaises(KeyboardInterrupt, wait)
        # A stop ends the calls that the signals have left.
        node.close()
        patient.close()

    def test_an_exit_during_a_wait_is_clean(self) -> None:
        self.assertEqual(run("""
            import signal
            signal.signal(signal.SIGALRM, signal.default_int_handler)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            node = gossip.Node(gossip.Crypto.load(homes[0] + "/msp", "Org1MSP"), gossip.Config(listen="127.0.0.1:0"))
            try:
                node.wait_for_members(1, None)
            except KeyboardInterrupt:
                print("interrupted")
        """), "interrupted\n")

    def test_what_has_no_room_is_counted(self) -> None:
        small, all_of_it = self.far.accept(capacity=1, when_full=gossip.WhenFull.DROP), self.far.accept()
        self.send(b"one", b"two", b"three")
        for _ in range(3):
            all_of_it.recv(TEN)
        # Drops are counted after other subscriptions have been notified, and before the next batch.
        self.send(b"four")
        all_of_it.recv(TEN)
        self.assertEqual(small.waiting, 1)
        self.assertIn(small.missed, (2, 3))


class Lifetime(Pair):
    def test_what_depends_on_a_handle_survives_it(self) -> None:
        organisation = gossip.Msp.load(home(0) / "msp", "Org1MSP")
        ours, tls = crypto(), gossip.Tls.load(home(0) / "tls")
        settings = gossip.Config(tls=tls, listen="127.0.0.1:0")
        ours.trust(organisation)
        third = gossip.Comm(ours, settings)
        inbox = self.far.accept()
        del organisation, ours, tls, settings
        gc.collect()
        third.send(block(b"still here"), self.far.local_addr)
        event = inbox.recv(TEN)
        message, undelivered = event.message, third.send_tracked(block(), self.far.local_addr)
        third.close()
        self.far.close()
        inbox.close()
        self.assertEqual(event.pki_id, event.pki_id)
        with self.assertRaises(gossip.Error):
            event.respond(message)
        with self.assertRaises(gossip.Error):
            undelivered.wait(TEN)
        event.close()
        self.assertEqual((message.data, message.channel), (b"still here", "mychannel"))

    def test_what_is_closed_says_so(self) -> None:
        message = block()
        message.close()
        message.close()
        with self.assertRaisesRegex(ValueError, "the Message is closed"):
            message.data
        self.far.close()
        with self.assertRaises(ValueError):
            self.far.connections()

    def test_a_handle_is_neither_copied_nor_pickled(self) -> None:
        for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
            with self.assertRaisesRegex(TypeError, "a Message cannot be copied or pickled"):
                attempt(block())

    def test_a_representation_says_which_one_it_is(self) -> None:
        inbox = self.far.accept()
        address = self.far.local_addr
        self.assertEqual(repr(self.far), f"<Comm {address}>")
        self.assertEqual(repr(inbox), "<Subscription with 0 waiting>")
        self.assertEqual(repr(gossip.Msp.load(home(0) / "msp", "Org1MSP")), "<Msp Org1MSP>")
        self.assertIn("Channel: mychannel", repr(block()))
        self.assertIn("gossip_comm_messages_sent", repr(self.far.metrics()))
        node = gossip.Node(crypto(0), config(0))
        with node:
            self.assertEqual(repr(node), f"<Node {node.comm().local_addr}>")
        self.assertEqual(repr(node), "<Node closed>")

    def test_a_with_statement_has_the_type_of_its_object(self) -> None:
        entered = typing.get_type_hints(gossip.Comm.__enter__)
        self.assertEqual(entered["self"], entered["return"])

    def test_a_thread_in_a_call_keeps_its_handle(self) -> None:
        inbox = self.far.accept()
        entered, outcome = threading.Event(), []

        def wait() -> None:
            entered.set()
            try:
                self.far.flush(TEN)
                inbox.recv(TEN)
            except (gossip.Error, ValueError) as error:
                outcome.append(error)

        threads = [threading.Thread(target=wait) for _ in range(8)]
        for thread in threads:
            thread.start()
        entered.wait(TEN)
        self.far.close()
        inbox.close()
        for thread in threads:
            thread.join(TEN)
        self.assertEqual(len(outcome), len(threads))

    def test_nothing_of_a_callback_is_kept_once_it_is_not_needed(self) -> None:
        before = len(_core.KEPT)
        inbox = self.far.accept(lambda event: True)
        inbox.set_callback(lambda event: None)
        key = crypto()
        forwarded = gossip.Crypto.of_callbacks(key.identity, gossip.Msp.load(home() / "msp", "Org1MSP"), sign=key.sign)
        self.assertEqual(len(_core.KEPT), before + 3)
        with self.assertRaises(gossip.Error):
            inbox.set_callback(lambda event: None)  # It already has a callback.
        self.assertEqual(len(_core.KEPT), before + 3)
        inbox.close()
        self.far.close()
        forwarded.close()
        self.assertEqual(len(_core.KEPT), before)

    def test_a_subscription_with_a_callback_lives_until_its_end(self) -> None:
        received, ended = threading.Event(), threading.Event()
        self.far.accept().set_callback(lambda event: received.set(), ended.set)
        gc.collect()
        self.send(b"one")
        self.assertTrue(received.wait(TEN))
        self.far.stop()
        self.assertTrue(ended.wait(TEN))

    def test_an_exit_with_everything_alive_is_clean(self) -> None:
        # Callbacks, predicates, a log, a thread that waits, and nothing closed.
        self.assertEqual(run("""
            import threading
            gossip.log(lambda *line: None, gossip.LogLevel.TRACE)
            near, far = [gossip.Comm(gossip.Crypto.load(home + "/msp", "Org1MSP"),
                gossip.Config(listen="127.0.0.1:0", tls=gossip.Tls.load(home + "/tls"))) for home in homes]
            node = gossip.Node(gossip.Crypto.load(homes[0] + "/msp", "Org1MSP"), gossip.Config(
                listen="127.0.0.1:0", tls=gossip.Tls.load(homes[0] + "/tls"), bootstrap=["127.0.0.1:1"]))
            inbox, other = far.accept(lambda event: True), far.accept()
            inbox.set_callback(lambda event: event.message.number == 1 and event.ack())
            threading.Thread(target=other.recv, daemon=True).start()
            near.send_with_ack(gossip.Message.block("mychannel", 1, b"data"), far.local_addr, 10)
            near.send(gossip.Message.block("mychannel", 2, bytes(1 << 20)), far.local_addr)
            print("done")
        """), "done\n")

    def test_a_forked_child_is_told_and_harms_nobody(self) -> None:
        self.assertEqual(run("""
            import os, gc
            with gossip.Comm(gossip.Crypto.load(homes[0] + "/msp", "Org1MSP"), gossip.Config(listen="127.0.0.1:0")) as comm:
                inbox = comm.accept(lambda event: True)
                inbox.set_callback(print)
                child = os.fork()
                if child == 0:
                    for use in (lambda: comm.connections(), lambda: gossip.Config()):
                        try:
                            use()
                        except RuntimeError as error:
                            print(error, flush=True)
                    inbox.close()
                    comm.close()
                    del inbox, comm
                    gc.collect()
                    raise SystemExit(7)
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), len(comm.connections()))
        """), "the Comm belongs to the parent process\n"
              "the library cannot be used after a fork: start processes with 'spawn' or 'forkserver'\n7 0\n")

    def test_a_child_forked_before_first_use_can_use_it(self) -> None:
        self.assertEqual(run("""
            import os
            gossip.version()
            child = os.fork()
            with gossip.Comm(gossip.Crypto.load(homes[0] + "/msp", "Org1MSP"), gossip.Config(listen="127.0.0.1:0")) as comm:
                comm.probe(comm.local_addr)
            if child != 0:
                print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """), "0\n")


def run(program: str) -> str:
    """Returns the output of a separate program, which must succeed and write nothing to standard error."""
    lines = f"import fabric_gossip as gossip\nhomes = {[str(home(0)), str(home(1))]}\n" + textwrap.dedent(program)
    path = {**os.environ, "PYTHONPATH": str(Path(gossip.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", lines], env=path, capture_output=True, text=True, timeout=60)
    if done.returncode != 0 or done.stderr:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class HostCrypto(Pair):
    def host(self, sign: object = None, **functions: object) -> gossip.Crypto:
        key, organisation = crypto(), gossip.Msp.load(home() / "msp", "Org1MSP")
        return gossip.Crypto.of_callbacks(key.identity, organisation, sign=sign or key.sign, **functions)

    def test_what_a_callback_raises_is_in_the_error(self) -> None:
        def broken(message: bytes) -> bytes:
            raise OSError("no such token")

        with self.assertRaises(gossip.Error) as raised:
            self.host(sign=broken).sign(b"data")
        self.assertEqual(raised.exception.reason, "the host's sign callback failed: OSError: no such token")

    def test_only_a_missing_answer_is_a_timeout_of_an_acknowledgement(self) -> None:
        # The peer never completes the handshake. The message is reported as undelivered, and no answer can follow.
        key, go_on, started = crypto(0), threading.Event(), []

        def sign(message: bytes) -> bytes:
            if started:
                go_on.wait(TEN)
            return key.sign(message)

        impatient = config(1, settings={"comm.conn_timeout": timedelta(milliseconds=100)})
        with gossip.Comm(self.host(sign=sign), config(0)) as slow, gossip.Comm(crypto(1), impatient) as sender:
            started.append(True)
            tracked = sender.send_tracked(block(), slow.local_addr)
            with self.assertRaises(gossip.Error) as raised:
                tracked.wait(TEN)
            go_on.set()
        self.assertEqual(raised.exception.code, gossip.Code.UNREACHABLE)
        self.assertIn("timed out", raised.exception.reason)

    def test_only_true_is_a_valid_signature(self) -> None:
        key = crypto()
        signature = key.sign(b"data")
        for said in (False, None, 1, b"yes", "yes"):
            with self.subTest(said=said), self.assertRaises(gossip.Error) as raised:
                self.host(verify=lambda *_: said).verify(key.identity, signature, b"data")
            self.assertEqual(raised.exception.code, gossip.Code.SIGNATURE)
        self.host(verify=lambda *_: True).verify(key.identity, b"whatever", b"data")

    def test_every_question_can_be_answered(self) -> None:
        identity, soon = b"a name", datetime.now(timezone.utc) + timedelta(days=1)
        asked = []

        def answer(name: str, result: object) -> object:
            return lambda *given: (asked.append((name, given)), result)[1]

        ours = gossip.Crypto.of_callbacks(
            identity, sign=answer("sign", b"signature"), verify=answer("verify", True), pki_id=answer("pki_id", b"id"),
            verify_by_channel=answer("verify_by_channel", True), validate_identity=answer("validate_identity", True),
            expiration=answer("expiration", soon), org=answer("org", "Org1MSP"),
        )
        self.assertEqual((ours.pki_id, ours.sign(b"data")), (b"id", b"signature"))
        ours.verify(identity, b"signature", b"data")
        self.assertIn(("verify", (identity, b"signature", b"data")), asked)
        gossip.Message.block("mychannel", 1, b"").sign(ours).verify(ours, identity)
        with gossip.Comm(ours, config()) as third:
            self.assertEqual(third.pki_id, b"id")
        with gossip.Node(ours, config()) as node:
            self.assertEqual([known.org for known in node.identities()], ["Org1MSP"])
        self.assertIn(("org", (identity,)), asked)
        self.assertIn(("expiration", (identity,)), asked)

    def test_a_signer_that_does_not_fit_is_an_error_at_the_start(self) -> None:
        with self.assertRaises(gossip.Error) as raised:
            gossip.Comm(self.host(sign=crypto(1).sign), config())
        self.assertEqual(raised.exception.code, gossip.Code.SIGNATURE)
        self.assertIn("our own signature does not match our own identity", raised.exception.reason)

    def test_a_digest_signer_has_to_say_which_form_its_signature_has(self) -> None:
        organisation = gossip.Msp.load(home() / "msp", "Org1MSP")
        (cert,) = (home() / "msp" / "signcerts").iterdir()
        digests = []

        def signs(signature: bytes) -> object:
            return lambda digest: (digests.append(digest), signature)[1]

        for signature, text in (
            (bytes(64), "expected a DerSignature or RawSignature, not bytes"),
            (gossip.DerSignature(bytes(64)), "Signature::Raw"),
            (gossip.RawSignature(bytes(63)), "64 bytes in all"),
            (gossip.RawSignature(b"\1" * 64), "does not match the signing certificate"),
        ):
            with self.subTest(text), self.assertRaises(gossip.Error) as raised:
                gossip.Crypto.of_signer(organisation, cert.read_bytes(), signs(signature))
            self.assertIn(text, raised.exception.reason)
        self.assertEqual({len(digest) for digest in digests}, {32})
        self.assertEqual(len(digests), 4)


class Log(unittest.TestCase):
    def tearDown(self) -> None:
        gossip.log(None)

    def test_the_log_is_a_loggers(self) -> None:
        logger = logging.getLogger("fabric_gossip.test")
        logger.setLevel(logging.WARNING)
        with self.assertLogs(logger, logging.WARNING) as logged:
            gossip.log_to(logger)
            with gossip.Comm(crypto(), gossip.Config(listen="127.0.0.1:0")):  # Without TLS, which logs a warning.
                pass
        self.assertIn("TLS", logged.output[0])


    def test_what_is_collected_while_a_line_is_logged_is_freed_later(self) -> None:
        garbage = [block() for _ in range(3)]
        gossip.log(lambda *line: garbage.clear(), gossip.LogLevel.WARN)
        with gossip.Comm(crypto(), gossip.Config(listen="127.0.0.1:0")):  # Without TLS, which logs a warning.
            self.assertEqual((garbage, len(_core.LATER)), ([], 3))
            block()
            self.assertEqual(_core.LATER, [])


class Nodes(unittest.TestCase):
    def test_nodes_find_each_other_and_spread_a_block(self) -> None:
        with gossip.Node(crypto(0), config(0)) as first:
            verified = []
            seed = config(1, bootstrap=[first.self().internal_endpoint], metadata=b"second",
                          block_verifier=lambda message: verified.append(message.number) is None,
                          settings={"channel.publish_state_info_interval": timedelta(milliseconds=100)})
            with gossip.Node(crypto(1), seed) as second:
                first.wait_for_members(1, TEN)
                second.wait_for_members(1, TEN)
                (peer,) = first.peers()
                self.assertEqual((peer.metadata, peer), (b"second", first.lookup(peer.pki_id)))
                self.assertIsNone(first.lookup(b"nobody"))
                self.assertEqual([seed.connected for seed in second.seeds()], [True])
                alive = next(e for e in first.start_notices if e.kind == gossip.EventKind.MEMBER_ALIVE)
                self.assertEqual(alive.member.pki_id, peer.pki_id)

                blocks = second.accept()
                for node in (first, second):
                    node.join_channel("mychannel", {"Org1MSP": []})
                self.until(first.comm(), lambda: first.channel_peers("mychannel"))
                (found,) = first.peers_of_channel("mychannel")
                self.assertEqual((found.member.pki_id, found.ledger_height, found.chaincodes), (peer.pki_id, 0, ()))
                second.update_ledger_height("mychannel", 2**64 - 1)
                chaincodes = (gossip.Chaincode("basic", "1.0"), gossip.Chaincode("\x1bä", ""))
                second.update_chaincodes("mychannel", chaincodes)
                announced = lambda: [(of.ledger_height, of.chaincodes) for of in first.peers_of_channel("mychannel")]
                self.until(first.comm(), lambda: announced() == [(2**64 - 1, chaincodes)])
                second.update_chaincodes("mychannel", [])
                self.until(first.comm(), lambda: announced() == [(2**64 - 1, ())])
                with self.assertRaises(gossip.Error) as raised:
                    first.peers_of_channel("another")
                self.assertEqual(raised.exception.code, gossip.Code.INVALID_ARGUMENT)
                with self.assertRaises(gossip.Error) as raised:
                    first.update_chaincodes("another", [("basic", "1.0")])
                self.assertEqual(raised.exception.code, gossip.Code.CONFIG)
                first.gossip(block(b"a block", 1))
                event = blocks.recv(TEN)
                self.assertEqual((event.kind, event.message.data), (gossip.EventKind.GOSSIPED, b"a block"))
                self.assertEqual(verified, [1])
                self.assertGreaterEqual(first.metrics()['gossip_membership_total_peers_known{channel="mychannel"}'], 1)

                with self.assertRaises(ZeroDivisionError):
                    first.suspect_peers(lambda identity: 1 / 0)
                first.suspect_peers()
                self.assertEqual(len(first.identities()), 2)

    def test_an_exception_of_a_block_verifier_is_logged(self) -> None:
        raised = threading.Event()

        class Seen(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if record.getMessage() == "the block verifier failed" and record.exc_info[0] is ZeroDivisionError:
                    raised.set()

        logger, handler = logging.getLogger("fabric_gossip"), Seen()
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        often = {"channel.publish_state_info_interval": timedelta(milliseconds=100)}
        with gossip.Node(crypto(0), config(0, block_verifier=lambda message: 1 / 0, settings=often)) as first:
            seed = config(1, bootstrap=[first.self().internal_endpoint], settings=often)
            with gossip.Node(crypto(1), seed) as second:
                second.wait_for_members(1, TEN)
                for node in (first, second):
                    node.join_channel("mychannel", {"Org1MSP": []})
                self.until(second.comm(), lambda: second.channel_peers("mychannel"))
                second.gossip(block())
                self.assertTrue(raised.wait(TEN))

    def until(self, comm: gossip.Comm, holds: object) -> None:
        """Evaluates the condition after each message."""
        inbox = comm.accept()
        while not holds():
            inbox.recv(TEN)


class Documentation(unittest.TestCase):
    def test_help_describes_every_class_method_field_and_constant(self) -> None:
        for name in gossip.__all__:
            public = getattr(gossip, name)
            text = public.__doc__ or ""
            self.assertTrue(text, name)
            if not isinstance(public, type):
                continue
            listed = {*getattr(public, "__members__", ()), *getattr(public, "_fields", ())}
            if public is gossip.Error:
                listed.update(public.__annotations__)
            for each in listed:
                self.assertRegex(text, rf"\n *\* {each}: ", name)
            members = {key: value for key, value in vars(public).items() if key[0] != "_" and key not in listed}
            for key, value in members.items():
                self.assertTrue(inspect.getdoc(value), f"{name}.{key}")


class Loading(unittest.TestCase):
    def fails(self, library: str) -> str:
        """Returns the text of the error if FABRIC_GOSSIP_LIBRARY names this library."""
        with mock.patch.dict(os.environ, FABRIC_GOSSIP_LIBRARY=library), self.assertRaises(ImportError) as raised:
            _c.load()
        self.assertIn("pip install ", str(raised.exception))
        self.assertIn("FABRIC_GOSSIP_LIBRARY", str(raised.exception))
        return str(raised.exception)

    def test_another_version_is_not_loaded(self) -> None:
        with mock.patch.object(_c, "MINOR", _c.MINOR + 1):
            self.assertIn("this module needs", self.fails(os.environ["FABRIC_GOSSIP_LIBRARY"]))

    def test_a_library_without_one_of_the_functions_is_not_loaded(self) -> None:
        with mock.patch.dict(_c.FUNCTIONS, gossip_of_tomorrow=(None,)):
            self.assertIn("it has no gossip_of_tomorrow", self.fails(os.environ["FABRIC_GOSSIP_LIBRARY"]))

    def test_another_library_is_not_loaded(self) -> None:
        self.assertIn("is not the library", self.fails("libc.so.6"))
        self.assertIn("Tried:\n  /nowhere/libfabric_gossip.so: ", self.fails("/nowhere/libfabric_gossip.so"))

    def test_an_import_without_the_library_names_the_files_tried_and_the_remedy(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            # The module alone, as in a clone.
            package = Path(folder, "fabric_gossip")
            package.mkdir()
            for file in Path(gossip.__file__).parent.glob("*.py"):
                (package / file.name).write_bytes(file.read_bytes())
            environment = {name: value for name, value in os.environ.items() if name != "FABRIC_GOSSIP_LIBRARY"}
            # Without a library of the system.
            environment.update(PYTHONPATH=folder, PATH="", LD_LIBRARY_PATH="")
            command = [sys.executable, "-c", "import fabric_gossip"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        last = done.stderr[done.stderr.rindex("ImportError: "):].splitlines()
        self.assertEqual((done.returncode, len(last)), (1, 4), done.stderr)
        self.assertIn("cannot be loaded", last[0])
        self.assertIn(str(package / "libfabric_gossip.so"), last[1])
        self.assertIn("libfabric_gossip.so: ", last[2])
        self.assertRegex(last[3], r"pip install \./bindings/python .*make install.*FABRIC_GOSSIP_LIBRARY")

    def test_the_variable_comes_before_the_installed_library(self) -> None:
        with tempfile.NamedTemporaryFile() as file, mock.patch.object(_c, "INSTALLED", Path(file.name)):
            with mock.patch.dict(os.environ, FABRIC_GOSSIP_LIBRARY="/set.so"):
                self.assertEqual(list(_c.candidates()), ["/set.so"])
            with mock.patch.dict(os.environ, FABRIC_GOSSIP_LIBRARY=""):
                self.assertEqual(list(_c.candidates()), [file.name])
        with mock.patch.object(_c, "INSTALLED", Path("/nowhere.so")):
            with mock.patch.dict(os.environ, FABRIC_GOSSIP_LIBRARY=""):
                self.assertEqual(len(list(_c.candidates())), 2)


if __name__ == "__main__":
    unittest.main()
