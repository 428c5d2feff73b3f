// The promises of fabric_gossip.hpp beyond fabric_gossip.h: no exception enters the library, handles may go in any
// order.
//
//     test_fabric_gossip DIR, made by fabric-gossip crypto DIR

#include "fabric_gossip.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <future>
#include <iterator>
#include <poll.h>
#include <string>
#include <type_traits>

using namespace std::chrono_literals;
using gossip::message;

namespace {

std::string folder;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            std::fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                         \
            std::_Exit(1);                                                                                             \
        }                                                                                                              \
    } while (false)

// The error that `work` throws.
template <class Work> gossip::error error_of(Work work) {
    try {
        work();
    } catch (const gossip::error &error) {
        return error;
    }
    std::fprintf(stderr, "no error came\n");
    std::_Exit(1);
}

std::string home(int peer) {
    return folder + "/peerOrganizations/org1.example.com/peers/peer" + std::to_string(peer) + ".org1.example.com";
}

gossip::crypto crypto(int peer = 0) { return gossip::crypto::load(home(peer) + "/msp", "Org1MSP"); }

gossip::msp organisation() { return gossip::msp::load(home(0) + "/msp", "Org1MSP"); }

gossip::config config(int peer = 0) {
    gossip::tls_config tls;
    const std::string files = home(peer) + "/tls/";
    tls.pair_files(files + "server.crt", files + "server.key").roots_file(files + "ca.crt");
    gossip::config config;
    config.listen("127.0.0.1:0").with_tls(gossip::tls(tls));
    return config;
}

gossip::comm comm(int peer = 0) { return gossip::comm(crypto(peer), config(peer)); }

gossip::comm comm_over(const std::string &transport, int peer) {
    gossip::config settings = config(peer);
    settings.transport(transport);
    return gossip::comm(crypto(peer), settings);
}

message block(std::string_view data, std::uint64_t number = 1) { return message::block("mychannel", number, data); }

std::vector<gossip::peer> at(const gossip::comm &comm) { return {gossip::peer(comm.local_addr())}; }

void an_error_has_code_peer_and_step() {
    const gossip::comm near = comm();
    const gossip::error error = error_of([&] { near.send_with_ack(block("data"), 10s, 1, {"127.0.0.1:1"}); });
    const gossip::error copy = error.parts().at(0);
    CHECK(copy.code() == GOSSIP_UNREACHABLE && copy.peer() == "127.0.0.1:1" && copy.step() == "dial");
    CHECK(std::string(copy.what()).find(copy.reason()) != std::string::npos);
    CHECK(error_of([&] { near.send(block("data"), {gossip::peer("")}); }).code() == GOSSIP_INVALID_ARGUMENT);
    bool refused = false;
    try {
        message::block(std::string("my\0channel", 10), 1, "");
    } catch (const std::invalid_argument &) {
        refused = true;
    }
    CHECK(refused);
}

void settings_are_read_back() {
    gossip::config config;
    config.set("comm.dial_timeout", 1500ms).set("c_core.retries", 1);
    CHECK(config.value("comm.dial_timeout") == 1'500'000'000 && config.value("c_core.retries") == 1);
    for (const std::string_view name : gossip::config::names()) {
        config.value(std::string(name));
    }
    CHECK(!gossip::config::names().empty());
    CHECK(error_of([&] { config.set("comm.dial", 1); }).code() == GOSSIP_INVALID_ARGUMENT);
}

void transports_understand_each_other() {
    for (const char *near_name : {"http2", "c-core"}) {
        for (const char *far_name : {"http2", "c-core"}) {
            const gossip::comm near = comm_over(near_name, 0);
            const gossip::comm far = comm_over(far_name, 1);
            const gossip::subscription inbox = far.accept();
            const gossip::ack_handle acknowledged = near.send_tracked(block(far_name), 10s, at(far).front());
            const auto event = inbox.recv(10s);
            CHECK(event && event->message().data() == gossip::bytes_view(far_name));
            event->ack();
            CHECK(acknowledged.wait(10s));
        }
    }
    gossip::config config;
    CHECK(error_of([&] { config.transport("tcp"); }).code() == GOSSIP_INVALID_ARGUMENT);
}

void what_callbacks_throw_stays_out() {
    const gossip::comm near = comm(0);
    const gossip::comm far = comm(1);
    const gossip::subscription chosen = far.accept([](gossip::event_view event) -> bool {
        if (event.message().data().text() == "bad") {
            throw std::runtime_error("in a predicate");
        }
        return true;
    });
    std::promise<void> twice, ended;
    std::atomic<int> calls{0};
    const gossip::subscription all = far.accept();
    all.set_callback(
        [&](gossip::event_view) {
            if (++calls == 2) {
                twice.set_value();
            }
            throw 42;
        },
        [&] { ended.set_value(); });
    near.send(block("bad"), at(far));
    near.send(block("good"), at(far));
    const auto event = chosen.recv(10s);
    CHECK(event && event->message().data() == gossip::bytes_view("good"));
    CHECK(!chosen.recv(0s));
    CHECK(twice.get_future().wait_for(10s) == std::future_status::ready);
    far.stop();
    CHECK(!chosen.next());
    CHECK(error_of([&] { chosen.recv(0s); }).code() == GOSSIP_STOPPED);
    CHECK(ended.get_future().wait_for(10s) == std::future_status::ready);

    gossip::crypto_callbacks broken;
    broken.sign = [](gossip::bytes_view) -> gossip::bytes { throw std::runtime_error("no such token"); };
    broken.verify = [](gossip::bytes_view, gossip::bytes_view, gossip::bytes_view) -> bool { throw 42; };
    const gossip::msp msp = organisation();
    const gossip::crypto host(crypto().identity(), std::move(broken), &msp);
    CHECK(error_of([&] { host.sign("data"); }).reason() == "no such token");
    CHECK(error_of([&] { host.verify(crypto().identity(), "signature", "data"); }).code() == GOSSIP_SIGNATURE);
}

void a_digest_signer_names_the_form_of_its_signature() {
    const gossip::msp msp = organisation();
    std::ifstream file(home(0) + "/msp/signcerts/peer0.org1.example.com-cert.pem");
    const std::string cert((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const gossip::bytes ones(64, 1);
    const auto refusal = [&](gossip::digest_signer sign) {
        return error_of([&] { gossip::crypto::of_signer(msp, cert, std::move(sign)); }).reason();
    };
    std::size_t length = 0;
    const auto has = [](const std::string &text, const char *part) { return text.find(part) != std::string::npos; };
    CHECK(has(refusal([&](gossip::bytes_view digest) {
                  length = digest.size();
                  return gossip::signature::der(ones);
              }),
              "Signature::Raw"));
    CHECK(length == 32);
    CHECK(has(refusal([&](gossip::bytes_view) { return gossip::signature::raw(ones); }), "does not match"));
    CHECK(has(refusal([&](gossip::bytes_view) -> gossip::signature { throw std::runtime_error("no such token"); }),
              "no such token"));
}

void a_descriptor_is_polled() {
    const gossip::comm near = comm(0);
    const gossip::comm far = comm(1);
    const gossip::subscription inbox = far.accept();
    near.send(block("one"), at(far));
    pollfd waited{inbox.fd(), POLLIN, 0};
    std::optional<gossip::event> event;
    while (!event) {
        CHECK(poll(&waited, 1, 10'000) == 1);
        event = inbox.recv(0s);
    }
    CHECK(event->message().data().text() == "one" && inbox.size() == 0 && inbox.missed() == 0);
}

void handles_go_in_any_order() {
    std::optional<gossip::comm> far(comm(1));
    std::optional<gossip::subscription> inbox(far->accept());
    std::optional<gossip::event> event;
    {
        const gossip::comm near = comm(0); // The objects it was started with are gone already.
        const gossip::ack_handle acknowledged = near.send_tracked(block("kept"), 10s, gossip::peer(far->local_addr()));
        event = inbox->next();
        CHECK(!acknowledged.wait(0s));
        event->ack();
        CHECK(acknowledged.wait(10s));
    }
    const message kept = event->message().clone();
    inbox.reset();
    far.reset();
    CHECK(error_of([&] { event->respond(kept); }).code() != GOSSIP_OK);
    const gossip::event moved = std::move(*event);
    CHECK(moved.kind() == GOSSIP_EVENT_MESSAGE && event->kind() == GOSSIP_EVENT_NONE);
    event.reset();
    CHECK(kept.data().text() == "kept" && kept.channel() == "mychannel" && kept.content() == GOSSIP_CONTENT_DATA);
    const message decoded = message::decode(kept.wire());
    CHECK(decoded.payload() == kept.payload() && message::of_payload(kept.payload()).nonce() == kept.nonce());
    static_assert(!std::is_copy_constructible_v<gossip::comm> && std::is_nothrow_move_constructible_v<gossip::comm>);
    static_assert(!std::is_copy_constructible_v<message> && std::is_nothrow_copy_constructible_v<gossip::error>);
}

void callbacks_are_freed() {
    const auto counted = std::make_shared<int>(0);
    {
        const gossip::comm far = comm(1);
        const gossip::subscription inbox = far.accept([counted](gossip::event_view) { return true; });
        inbox.set_callback([counted](gossip::event_view) {});
        CHECK(error_of([&] { inbox.set_callback([counted](gossip::event_view) {}); }).code() == GOSSIP_INVALID_ARGUMENT);
        gossip::set_log([counted](gossip_log_level, std::string_view, std::string_view) {});
        CHECK(counted.use_count() == 4);
        gossip::set_log(nullptr);
    }
    CHECK(counted.use_count() == 1);
}

void a_host_answers_every_question() {
    gossip::crypto_callbacks own;
    const auto yes = [](auto...) { return true; };
    own.sign = [](gossip::bytes_view) { return gossip::bytes{1, 2, 3}; };
    own.verify = yes;
    own.verify_by_channel = yes;
    own.validate_identity = yes;
    own.pki_id = [](gossip::bytes_view who) { return std::optional<gossip::bytes>(who.copy()); };
    own.org = [](gossip::bytes_view) { return std::optional<std::string>("Org1MSP"); };
    own.expiration = [](gossip::bytes_view) { return std::nullopt; };
    const gossip::crypto host("somebody", std::move(own));
    CHECK(host.pki_id().text() == "somebody" && host.sign("data").size() == 3);
    const message sent = message::empty().sign(host);
    sent.verify(host, host.identity());
    CHECK(sent.signature().size() == 3);
    const gossip::node node(host, config());
    CHECK(node.identities().at(0).org == "Org1MSP");
}

void nodes_find_each_other_and_spread_a_block() {
    auto [first, notices] = gossip::node::with_notices(crypto(0), config(0));
    std::atomic<int> judged{0};
    gossip::config seeded = config(1);
    seeded.bootstrap(first.self().internal_endpoint).metadata("second");
    seeded.set("channel.publish_state_info_interval", 100ms).verify_blocks([&](gossip::message_view) {
        ++judged;
        return true;
    });
    const gossip::node second(crypto(1), seeded);
    first.wait_for_members(1, 10s);
    second.wait_for_members(1, 10s);
    const gossip::member peer = first.peers().at(0);
    CHECK(gossip::bytes_view(peer.metadata).text() == "second");
    CHECK(first.lookup(peer.pki_id)->internal_endpoint == peer.internal_endpoint && !first.lookup("nobody"));
    CHECK(second.seeds().at(0).connected && first.dead().empty());
    for (auto event = notices.next();; event = notices.next()) {
        if (event->kind() == GOSSIP_EVENT_MEMBER_ALIVE) {
            CHECK(event->member()->pki_id == peer.pki_id);
            break;
        }
    }
    const gossip::subscription blocks = second.accept();
    const gossip::subscription all = first.comm().accept();
    first.join_channel("mychannel", {{"Org1MSP", {{"127.0.0.1", 1}}}});
    second.join_channel("mychannel", {{"Org1MSP", {}}});
    while (first.channel_peers("mychannel").empty()) {
        CHECK(all.recv(10s));
    }
    second.update_ledger_height("mychannel", 7);
    second.update_chaincodes("mychannel", {{"basic", "1.0"}, {"", ""}});
    std::vector<gossip::channel_member> of_channel;
    while ((of_channel = first.peers_of_channel("mychannel")).at(0).chaincodes.empty()) {
        CHECK(all.recv(10s));
    }
    CHECK(of_channel.size() == 1 && of_channel[0].member.pki_id == peer.pki_id && of_channel[0].ledger_height == 7);
    CHECK(of_channel[0].chaincodes.size() == 2 && of_channel[0].chaincodes[1].name.empty());
    CHECK(of_channel[0].chaincodes[0].name == "basic" && of_channel[0].chaincodes[0].version == "1.0");
    first.gossip(block("a block"));
    const auto event = blocks.recv(10s);
    CHECK(event && event->kind() == GOSSIP_EVENT_GOSSIPED && event->message().data().text() == "a block");
    CHECK(judged == 1);
    const gossip::metrics metrics = first.metrics();
    CHECK(metrics.value(std::string(metrics.name(0))) >= 0 && !metrics.prometheus().empty());
    bool thrown = false;
    try {
        first.suspect_peers([](gossip::bytes_view) -> bool { throw std::out_of_range("of the host"); });
    } catch (const std::out_of_range &) {
        thrown = true;
    }
    CHECK(thrown);
    first.suspect_peers();
    CHECK(first.identities().size() == 2);
}

} // namespace

int main(int count, char **arguments) {
    if (count != 2) {
        return 2;
    }
    folder = arguments[1];
    gossip::check_version();
#define RUN(test) (std::printf("%s\n", #test), std::fflush(stdout), test())
    RUN(an_error_has_code_peer_and_step);
    RUN(settings_are_read_back);
    RUN(transports_understand_each_other);
    RUN(what_callbacks_throw_stays_out);
    RUN(a_digest_signer_names_the_form_of_its_signature);
    RUN(a_descriptor_is_polled);
    RUN(handles_go_in_any_order);
    RUN(callbacks_are_freed);
    RUN(a_host_answers_every_question);
    RUN(nodes_find_each_other_and_spread_a_block);
}
