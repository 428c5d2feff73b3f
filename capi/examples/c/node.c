// Three nodes in one process, over mutual TLS on loopback, each configured with at most one other: all discover all,
// one announces what it has of a channel, a block spreads through it, each node judges it, and one that stops is noticed.
//
//   fabric-gossip crypto --orgs 2 --peers 3 DIR
//   cc -std=c11 node.c $(pkg-config --cflags --libs fabric-gossip) -o node && ./node DIR
//
// prints:
//
// ```text
// peer0 knows 2 others
// peer1 knows 2 others
// peer2 knows 2 others
// peer0 sees what peer2 says of itself: "ready"
// peer0 sees what peer1 has of the channel: 7 blocks, chaincode basic 1.0
// peer1 has block 1, "the block"
// peer2 has block 1, "the block"
// peer0 lists 1 member as dead
// stopped
// ```

#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { NODES = 3 };
static const char *const CHANNEL = "mychannel";

// Judges a block before it is delivered and passed on: here, that it is not empty.
static bool judge_block(void *user, const gossip_message *block, gossip_reply *reply)
{
    (void)user;
    if (gossip_message_data(block).len > 0)
        return true;
    gossip_reply_fail(reply, "an empty block");
    return false;
}

static gossip_node *start(const char *dir, int peer, const gossip_node *bootstrap)
{
    gossip_error *error = NULL;
    gossip_node *node = NULL;
    gossip_crypto *crypto = load_crypto(dir, 1, peer);
    gossip_config *config = load_config(dir, 1, peer, 1);
    check(gossip_config_set_block_verifier(config, judge_block, NULL, NULL, &error), &error);
    // Heartbeats twice a second, so that there is something to see; the default is Fabric's, every five seconds. State
    // of a channel is published as often.
    check(gossip_config_set(config, "discovery.alive_time_interval", 500 * GOSSIP_MILLISECOND, &error), &error);
    check(gossip_config_set(config, "channel.publish_state_info_interval", 500 * GOSSIP_MILLISECOND, &error), &error);
    if (bootstrap != NULL) {
        gossip_member_list *list = NULL;
        gossip_member self;
        check(gossip_node_self(bootstrap, &list, &error), &error);
        check(gossip_member_list_at(list, 0, &self, &error), &error);
        check(gossip_config_add_bootstrap(config, self.internal_endpoint.data, &error), &error);
        gossip_member_list_free(list);
    }
    check(gossip_node_start(crypto, config, NULL, &node, &error), &error);
    gossip_config_free(config);
    gossip_crypto_free(crypto);
    return node;
}

// Waits for a notice of this kind; of an updated member, for one that says `metadata`.
static void await_notice(const gossip_subscription *notices, gossip_event_kind kind, const char *metadata)
{
    for (bool found = false; !found;) {
        gossip_error *error = NULL;
        gossip_event *event = NULL;
        gossip_member member;
        check(gossip_subscription_recv(notices, PATIENCE, &event, &error), &error);
        found = gossip_event_kind_of(event) == kind && gossip_event_member(event, &member) &&
                (metadata == NULL || (member.metadata.len == strlen(metadata) &&
                                      memcmp(member.metadata.data, metadata, member.metadata.len) == 0));
        gossip_event_free(event);
    }
}

// A list of members is freed once it is counted.
static size_t count(gossip_member_list *list)
{
    size_t count = gossip_member_list_len(list);
    gossip_member_list_free(list);
    return count;
}

// Waits until this many others are known to be in the channel: a block goes to those, and blocks are not asked for
// later.
static void await_channel_peers(const gossip_node *node, size_t wanted)
{
    gossip_error *error = NULL;
    gossip_member_list *list = NULL;
    const struct timespec moment = {.tv_nsec = 10000000};
    for (size_t known = 0; known < wanted; known = count(list)) {
        nanosleep(&moment, NULL);
        check(gossip_node_channel_peers(node, CHANNEL, &list, &error), &error);
    }
}

// Waits until the only peer with a ledger has announced its chaincodes, and prints what it announces.
static void print_announcement(const gossip_node *node)
{
    gossip_error *error = NULL;
    const struct timespec moment = {.tv_nsec = 10000000};
    for (bool found = false; !found; nanosleep(&moment, NULL)) {
        gossip_channel_member_list *list = NULL;
        check(gossip_node_peers_of_channel(node, CHANNEL, &list, &error), &error);
        for (size_t i = 0; i < gossip_channel_member_list_len(list) && !found; i++) {
            gossip_channel_member peer;
            gossip_chaincode chaincode;
            check(gossip_channel_member_list_at(list, i, &peer, &error), &error);
            found = peer.ledger_height > 0 && peer.chaincode_count > 0;
            if (!found)
                continue;
            check(gossip_channel_member_list_chaincode(list, i, 0, &chaincode, &error), &error);
            printf("peer0 sees what peer1 has of the channel: %" PRIu64 " blocks, chaincode %s %s\n",
                   peer.ledger_height, chaincode.name.data, chaincode.version.data);
        }
        gossip_channel_member_list_free(list);
    }
}

int main(int argc, char **argv)
{
    const char *dir = dir_argument(argc, argv);
    gossip_error *error = NULL;
    gossip_node *nodes[NODES] = {NULL};
    gossip_member_list *list = NULL;

    // The first has no bootstrap peer, each other one has the one before it.
    for (int n = 0; n < NODES; n++)
        nodes[n] = start(dir, n, n > 0 ? nodes[n - 1] : NULL);
    for (int n = 0; n < NODES; n++) {
        check(gossip_node_wait_for_members(nodes[n], NODES - 1, PATIENCE, &error), &error);
        check(gossip_node_peers(nodes[n], &list, &error), &error);
        printf("peer%d knows %zu others\n", n, count(list));
    }

    gossip_subscription *notices = NULL;
    check(gossip_node_notices(nodes[0], &notices, &error), &error);
    check(gossip_node_update_metadata(nodes[2], (const uint8_t *)"ready", strlen("ready"), &error), &error);
    await_notice(notices, GOSSIP_EVENT_MEMBER_UPDATED, "ready");
    printf("peer0 sees what peer2 says of itself: \"ready\"\n");

    // The organisations of the channel, without anchor peers: those are for meeting other organisations.
    gossip_channel_orgs *orgs = NULL;
    gossip_subscription *blocks[NODES] = {NULL};
    check(gossip_channel_orgs_new(&orgs, &error), &error);
    check(gossip_channel_orgs_add(orgs, "Org1MSP", &error), &error);
    for (int n = 0; n < NODES; n++) {
        check(gossip_node_accept(nodes[n], NULL, NULL, NULL, NULL, &blocks[n], &error), &error);
        check(gossip_node_join_channel(nodes[n], CHANNEL, orgs, &error), &error);
    }
    gossip_channel_orgs_free(orgs);

    await_channel_peers(nodes[0], NODES - 1);
    const char *name = "basic", *version = "1.0";
    check(gossip_node_update_ledger_height(nodes[1], CHANNEL, 7, &error), &error);
    check(gossip_node_update_chaincodes(nodes[1], CHANNEL, &name, &version, 1, &error), &error);
    print_announcement(nodes[0]);
    const char *text = "the block";
    gossip_message *block = NULL;
    check(gossip_message_new_data(CHANNEL, 1, (const uint8_t *)text, strlen(text), &block, &error), &error);
    check(gossip_node_gossip(nodes[0], block, &error), &error);
    gossip_message_free(block);
    for (int n = 1; n < NODES; n++) {
        gossip_event *event = NULL;
        check(gossip_subscription_recv(blocks[n], PATIENCE, &event, &error), &error);
        const gossip_message *received = gossip_event_message(event);
        gossip_bytes data = gossip_message_data(received);
        printf("peer%d has block %" PRIu64 ", \"%.*s\"\n", n, gossip_message_seq_num(received), (int)data.len,
               (const char *)data.data);
        gossip_event_free(event);
    }

    check(gossip_node_stop(nodes[2], &error), &error);
    await_notice(notices, GOSSIP_EVENT_MEMBER_DEAD, NULL);
    check(gossip_node_dead(nodes[0], &list, &error), &error);
    printf("peer0 lists %zu member as dead\n", count(list));

    for (int n = 0; n < NODES; n++) {
        check(gossip_node_stop(nodes[n], &error), &error);
        gossip_subscription_free(blocks[n]);
        gossip_node_free(nodes[n]);
    }
    gossip_subscription_free(notices);
    printf("stopped\n");
    return EXIT_SUCCESS;
}
