// Two peers in one process, over mutual TLS on loopback: messages, acknowledgements, and an impostor that is refused.
//
//     fabric-gossip crypto DIR
//     c++ -std=c++17 -Icapi/include capi/examples/cpp/two_peers.cpp -Ltarget/release -lfabric_gossip -o two_peers
//     LD_LIBRARY_PATH=target/release ./two_peers DIR
//
// prints:
//
// ```text
// peer0 dials peer1 and sends
//   peer1 received "hello" from Org1MSP
//   acknowledged by 1
// peer1 answers over the same connection
//   peer0 received "hello to you" from Org1MSP
//   acknowledged by 1
// peer1 does not want it
//   peer1 received "spam" from Org1MSP
//   GOSSIP_NACK: no room for spam
// an impostor presents the certificate of peer0, without its key
//   refused
//   peer1 says: GOSSIP_SIGNATURE at handshake
// stopped
// ```

#include "fabric_gossip.hpp"

#include <iostream>
#include <string>
#include <thread>

using namespace std::chrono_literals;

namespace {

std::string home(const std::string &folder, const std::string &name) {
    return folder + "/peerOrganizations/org1.example.com/peers/" + name + ".org1.example.com";
}

gossip::tls certificates(const std::string &home) {
    gossip::tls_config config;
    config.pair_files(home + "/tls/server.crt", home + "/tls/server.key").roots_file(home + "/tls/ca.crt");
    return gossip::tls(config);
}

// Starts a peer that listens on a free port of the loopback interface.
gossip::comm start(const std::string &home) {
    gossip::config config;
    config.listen("127.0.0.1:0").with_tls(certificates(home));
    return gossip::comm(gossip::crypto::load(home + "/msp", "Org1MSP"), config);
}

// Acknowledges incoming messages, until the comm stops.
void serve(const std::string &name, const gossip::comm &comm, const gossip::subscription &inbox) {
    while (const auto event = inbox.next()) {
        const std::string_view data = event->message().data().text();
        std::cout << "  " << name << " received \"" << data << "\" from " << comm.org(event->pki_id()) << std::endl;
        if (data == "spam") {
            event->nack("no room for spam");
        } else {
            event->ack();
        }
    }
}

void run(const std::string &folder) {
    gossip::check_version();
    const gossip::comm peer0 = start(home(folder, "peer0"));
    const gossip::comm peer1 = start(home(folder, "peer1"));
    // Subscribes before anything is sent; the predicate selects the messages of a subscription.
    const auto blocks = [](gossip::event_view event) { return event.message().content() == GOSSIP_CONTENT_DATA; };
    const gossip::subscription inbox0 = peer0.accept(blocks);
    const gossip::subscription inbox1 = peer1.accept(blocks);
    std::thread server0([&] { serve("peer0", peer0, inbox0); });
    std::thread server1([&] { serve("peer1", peer1, inbox1); });

    std::cout << "peer0 dials peer1 and sends" << std::endl;
    // An endpoint is enough to reach a peer; the handshake authenticates it.
    std::size_t acks = peer0.send_with_ack(gossip::message::block("mychannel", 1, "hello"), 10s, 1, {peer1.local_addr()});
    std::cout << "  acknowledged by " << acks << std::endl;

    std::cout << "peer1 answers over the same connection" << std::endl;
    // A PKI-ID in addition requires this very peer.
    const gossip::peer there(std::string(peer0.local_addr()), peer0.pki_id());
    acks = peer1.send_with_ack(gossip::message::block("mychannel", 2, "hello to you"), 10s, 1, {there});
    std::cout << "  acknowledged by " << acks << std::endl;

    std::cout << "peer1 does not want it" << std::endl;
    try {
        peer0.send_with_ack(gossip::message::block("mychannel", 3, "spam"), 10s, 1, {gossip::peer(peer1.pki_id())});
    } catch (const gossip::error &error) {
        std::cout << "  " << gossip::view(gossip_result_name(error.code())) << ": " << error.parts().at(0).reason()
                  << std::endl;
    }

    std::cout << "an impostor presents the certificate of peer0, without its key" << std::endl;
    const gossip::subscription events = peer1.events();
    const gossip::bytes stolen = gossip::crypto::load(home(folder, "peer0") + "/msp", "Org1MSP").identity().copy();
    const auto other = std::make_shared<gossip::crypto>(gossip::crypto::load(home(folder, "peer1") + "/msp", "Org1MSP"));
    const gossip::msp msp = gossip::msp::load(home(folder, "peer1") + "/msp", "Org1MSP");
    gossip::crypto_callbacks forged;
    forged.sign = [other](gossip::bytes_view message) { return other->sign(message); };
    // Without `verify` its own start would fail: the key does not belong to the certificate.
    forged.verify = [](gossip::bytes_view, gossip::bytes_view, gossip::bytes_view) { return true; };
    {
        gossip::config config;
        config.with_tls(certificates(home(folder, "peer1")));
        const gossip::comm impostor(gossip::crypto(stolen, std::move(forged), &msp), config);
        try {
            impostor.handshake(peer1.local_addr());
            std::cout << "  accepted" << std::endl;
        } catch (const gossip::error &) {
            std::cout << "  refused" << std::endl;
        }
        while (const auto event = events.next()) {
            if (event->kind() == GOSSIP_EVENT_REFUSED) {
                const auto error = event->error();
                std::cout << "  peer1 says: " << gossip::view(gossip_result_name(error->code())) << " at "
                          << error->step() << std::endl;
                break;
            }
        }
    }
    peer0.stop();
    peer1.stop();
    server0.join();
    server1.join();
    std::cout << "stopped" << std::endl;
}

} // namespace

int main(int count, char **arguments) {
    if (count != 2) {
        std::cerr << "usage: two_peers DIR, made by fabric-gossip crypto DIR" << std::endl;
        return 2;
    }
    try {
        run(arguments[1]);
    } catch (const std::exception &error) {
        std::cerr << error.what() << std::endl;
        std::_Exit(1); // Threads may still be serving.
    }
}
