// Two peers in one process, over mutual TLS on loopback: messages both ways, acknowledgements, an impostor that is
// refused, a peer that dies.
//
//   fabric-gossip crypto --orgs 2 --peers 3 DIR
//   cc -std=c11 two_peers.c $(pkg-config --cflags --libs fabric-gossip) -o two_peers && ./two_peers DIR
//
// prints:
//
// ```text
// peer1's endpoint answers: a peer of Org1MSP, which accepts us
// peer1 received "hello"
// 1 acknowledgement
// peer0 received "hello to you"
// peer1 received "too much"
// GOSSIP_NACK: no room
// the impostor: GOSSIP_REFUSED: failed classifying identity: Unable to extract msp.Identity from peer Identity: Peer Identity {"CN":"peer0.org2.example.com","Issuer-CN":"ca.org2.example.com","Issuer-L-ST-C":"[San Francisco]-[California]-[US]","Issuer-OU":null,"L-ST-C":"[San Francisco]-[California]-[US]","MSP":"Org2MSP","OU":["peer"]} cannot be validated. No MSP found able to do that.
// peer0 has refused it
// peer1 is presumed dead
// peer0 has sent 2 messages
// stopped
// ```

#include "common.h"

#include <string.h>

// Starts a peer that trusts members of its own organisation and of Org1.
static gossip_comm *start(const char *dir, int org, int peer)
{
    gossip_error *error = NULL;
    gossip_comm *comm = NULL;
    gossip_crypto *crypto = load_crypto(dir, org, peer);
    gossip_config *config = load_config(dir, org, peer, 1);
    trust(crypto, dir, 1);
    check(gossip_comm_start(crypto, config, &comm, &error), &error);
    gossip_config_free(config);
    gossip_crypto_free(crypto);
    return comm;
}

// Text as a block's data.
static gossip_message *new_message(const char *text)
{
    gossip_error *error = NULL;
    gossip_message *message = NULL;
    check(gossip_message_new_data("mychannel", 1, (const uint8_t *)text, strlen(text), &message, &error), &error);
    return message;
}

static void print_received(const char *who, const gossip_event *event)
{
    gossip_bytes text = gossip_message_data(gossip_event_message(event));
    printf("%s received \"%.*s\"\n", who, (int)text.len, (const char *)text.data);
}

// peer1 receives by callback, on a thread of the subscription's own.
static void on_message(void *user, const gossip_event *event)
{
    (void)user;
    if (event == NULL) // The last call: peer1 has stopped.
        return;
    gossip_error *error = NULL;
    print_received("peer1", event);
    gossip_bytes text = gossip_message_data(gossip_event_message(event));
    if (text.len > strlen("hello")) {
        check(gossip_event_ack(event, "no room", &error), &error);
        return;
    }
    gossip_message *answer = new_message("hello to you");
    check(gossip_event_ack(event, NULL, &error), &error);
    check(gossip_event_respond(event, answer, &error), &error);
    gossip_message_free(answer);
}

// Returns the next event of this kind; earlier events are skipped.
static gossip_event *next(const gossip_subscription *subscription, gossip_event_kind kind)
{
    for (;;) {
        gossip_error *error = NULL;
        gossip_event *event = NULL;
        check(gossip_subscription_recv(subscription, PATIENCE, &event, &error), &error);
        if (gossip_event_kind_of(event) == kind)
            return event;
        gossip_event_free(event);
    }
}

// Prints the identity of the peer at an endpoint, and whether it accepts us.
static void who_is(const gossip_comm *comm, const gossip_peer *peer)
{
    gossip_error *error = NULL;
    gossip_connection_list *list = NULL;
    gossip_connection found;
    gossip_buffer *org = NULL;
    bool confirmed = false;
    check(gossip_comm_probe(comm, peer, &error), &error);
    check(gossip_comm_handshake(comm, peer, &list, &confirmed, &error), &error);
    check(gossip_connection_list_at(list, 0, &found, &error), &error);
    check(gossip_comm_org(comm, found.pki_id.data, found.pki_id.len, &org, &error), &error);
    printf("peer1's endpoint answers: a peer of %s, which %s us\n",
           (const char *)gossip_buffer_bytes(org).data, confirmed ? "accepts" : "may accept");
    gossip_buffer_free(org);
    gossip_connection_list_free(list);
}

int main(int argc, char **argv)
{
    const char *dir = dir_argument(argc, argv);
    gossip_error *error = NULL;
    gossip_comm *peer0 = start(dir, 1, 0);
    gossip_comm *peer1 = start(dir, 1, 1);

    // Subscribed before anything is sent.
    gossip_subscription *callback = NULL, *inbox = NULL, *events = NULL, *dead = NULL;
    check(gossip_comm_accept(peer1, NULL, NULL, NULL, NULL, &callback, &error), &error);
    check(gossip_subscription_set_callback(callback, on_message, NULL, NULL, &error), &error);
    check(gossip_comm_accept(peer0, NULL, NULL, NULL, NULL, &inbox, &error), &error);
    check(gossip_comm_events(peer0, &events, &error), &error);
    check(gossip_comm_presumed_dead(peer0, &dead, &error), &error);

    // An endpoint is enough to reach a peer; the handshake authenticates it. A PKI-ID in addition requires this very
    // peer.
    gossip_bytes id = gossip_comm_pki_id(peer1);
    gossip_peer to_peer1 = {.endpoint = gossip_comm_local_addr(peer1).data, .pki_id = id.data, .pki_id_len = id.len};
    who_is(peer0, &to_peer1);

    // A message, its acknowledgement, and the answer.
    gossip_message *message = new_message("hello");
    size_t acks = 0;
    check(gossip_comm_send_with_ack(peer0, message, PATIENCE, 1, &to_peer1, 1, &acks, &error), &error);
    printf("%zu acknowledgement\n", acks);
    gossip_message_free(message);
    gossip_event *answer = next(inbox, GOSSIP_EVENT_MESSAGE);
    print_received("peer0", answer);
    gossip_event_free(answer);

    // Many can be pending at the same time: each has a handle on its acknowledgement. This one is refused.
    gossip_ack_handle *ack = NULL;
    message = new_message("too much");
    check(gossip_comm_send_tracked(peer0, message, PATIENCE, &to_peer1, &ack, &error), &error);
    gossip_result result = gossip_ack_handle_wait(ack, PATIENCE, &error);
    printf("%s: %s\n", gossip_result_name(result).data, gossip_error_reason(error).data);
    gossip_error_free(error);
    gossip_ack_handle_free(ack);
    gossip_message_free(message);

    // A member of an organisation that peer0 does not trust.
    gossip_comm *impostor = start(dir, 2, 0);
    gossip_peer to_peer0 = {.endpoint = gossip_comm_local_addr(peer0).data};
    gossip_connection_list *nobody = NULL;
    result = gossip_comm_handshake(impostor, &to_peer0, &nobody, NULL, &error);
    printf("the impostor: %s: %s\n", gossip_result_name(result).data, gossip_error_reason(error).data);
    gossip_error_free(error);
    gossip_connection_list_free(nobody);
    gossip_event *refused = next(events, GOSSIP_EVENT_REFUSED);
    printf("peer0 has refused %s\n", gossip_event_inbound(refused) ? "it" : "no one");
    gossip_event_free(refused);
    check(gossip_comm_stop(impostor, 0, &error), &error);
    gossip_comm_free(impostor);

    check(gossip_comm_stop(peer1, 0, &error), &error);
    gossip_event_free(next(events, GOSSIP_EVENT_DISCONNECTED));
    message = new_message("are you there?");
    check(gossip_comm_send(peer0, message, &to_peer1, 1, &error), &error);
    gossip_message_free(message);
    gossip_event_free(next(dead, GOSSIP_EVENT_PRESUMED_DEAD));
    printf("peer1 is presumed dead\n");

    gossip_metrics *metrics = NULL;
    double sent = 0;
    check(gossip_comm_metrics(peer0, &metrics, &error), &error);
    check(gossip_metrics_value(metrics, "gossip_comm_messages_sent", &sent, &error), &error);
    printf("peer0 has sent %.0f messages\n", sent);
    gossip_metrics_free(metrics);

    check(gossip_comm_stop(peer0, 0, &error), &error);
    printf("stopped\n");

    // In any order.
    gossip_comm_free(peer0);
    gossip_comm_free(peer1);
    gossip_subscription_free(callback);
    gossip_subscription_free(inbox);
    gossip_subscription_free(events);
    gossip_subscription_free(dead);
    return EXIT_SUCCESS;
}
