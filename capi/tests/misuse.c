// Detectable misuse: each call gives a code and an error, and changes nothing.
#include "test.h"

static const char *const NOT_UTF8 = "\xff\xfe";
static const uint8_t BYTES[] = "bytes";

static void text_that_is_not_utf8(const char *dir)
{
    gossip_error *error = NULL;
    gossip_crypto *crypto = NULL;
    gossip_msp *msp = NULL;
    gossip_message *message = NULL;
    gossip_config *config = load_config(dir, 1, 0, 1);
    gossip_comm *comm = start_peer(dir, 0);
    gossip_peer peer = {.endpoint = NOT_UTF8};
    uint64_t value;
    EXPECT(GOSSIP_INVALID_UTF8, gossip_crypto_load(NOT_UTF8, "Org1MSP", &crypto, &error));
    EXPECT(GOSSIP_INVALID_UTF8, gossip_msp_load(dir, NOT_UTF8, &msp, &error));
    EXPECT(GOSSIP_INVALID_UTF8, gossip_message_new_data(NOT_UTF8, 1, BYTES, 1, &message, &error));
    EXPECT(GOSSIP_INVALID_UTF8, gossip_config_set(config, NOT_UTF8, 1, &error));
    EXPECT(GOSSIP_INVALID_UTF8, gossip_config_value(config, NOT_UTF8, &value, &error));
    EXPECT(GOSSIP_INVALID_UTF8, gossip_config_set_listen(config, NOT_UTF8, &error));
    EXPECT(GOSSIP_INVALID_UTF8, gossip_comm_probe(comm, &peer, &error));
    CHECK(crypto == NULL && msp == NULL && message == NULL);
    gossip_comm_free(comm);
    gossip_config_free(config);
}

static void absurd_sizes(const char *dir)
{
    gossip_error *error = NULL;
    gossip_message *message = NULL;
    gossip_buffer *buffer = NULL;
    gossip_crypto *crypto = load_crypto(dir, 1, 0);
    gossip_comm *comm = start_peer(dir, 0);
    gossip_config *config = load_config(dir, 1, 0, 1);
    gossip_peer peer = {.endpoint = "127.0.0.1:1"};
    gossip_peer wild = {.pki_id = BYTES, .pki_id_len = SIZE_MAX};
    EXPECT(GOSSIP_TOO_LARGE, gossip_message_new_data("c", 1, BYTES, SIZE_MAX, &message, &error));
    EXPECT(GOSSIP_TOO_LARGE, gossip_message_decode(BYTES, SIZE_MAX / 2, &message, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_crypto_sign(crypto, BYTES, SIZE_MAX, &buffer, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_config_set_metadata(config, BYTES, SIZE_MAX, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_comm_org(comm, BYTES, SIZE_MAX, &buffer, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_comm_probe(comm, &wild, &error));
    message = new_block(1, 10);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_comm_send(comm, message, &peer, SIZE_MAX, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_comm_send(comm, message, &peer, SIZE_MAX / sizeof peer, &error));
    gossip_message_free(message);
    // More than the limit of one message, but not absurd.
    message = new_block(1, 200u << 20);
    EXPECT(GOSSIP_TOO_LARGE, gossip_comm_send(comm, message, &peer, 1, &error));
    gossip_message_free(message);
    CHECK(buffer == NULL);
    gossip_config_free(config);
    gossip_comm_free(comm);
    gossip_crypto_free(crypto);
}

static void structures_of_another_size(const char *dir)
{
    gossip_error *error = NULL;
    gossip_crypto *crypto = NULL;
    gossip_subscription *subscription = NULL;
    gossip_comm *comm = start_peer(dir, 0);
    gossip_subscription_options options = {0};
    gossip_crypto_callbacks callbacks = {0};
    const size_t sizes[] = {0, 1, sizeof options - 1, sizeof options + 1, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        options.size = sizes[i];
        EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_comm_accept(comm, &options, NULL, NULL, NULL, &subscription, &error));
        callbacks.size = sizes[i];
        EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_crypto_new_callbacks(BYTES, 5, &callbacks, NULL, &crypto, &error));
    }
    options.size = sizeof options;
    options.when_full = 2;
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_comm_accept(comm, &options, NULL, NULL, NULL, &subscription, &error));
    options.when_full = GOSSIP_DROP;
    options.capacity = SIZE_MAX;
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_comm_accept(comm, &options, NULL, NULL, NULL, &subscription, &error));
    CHECK(subscription == NULL && crypto == NULL);
    gossip_comm_free(comm);
}

static void numbers_and_names_that_are_none(const char *dir)
{
    gossip_error *error = NULL;
    gossip_config *config = load_config(dir, 1, 0, 1);
    gossip_msp_config *msp = NULL;
    gossip_message *message = NULL;
    gossip_metrics *metrics = NULL;
    gossip_comm *comm = NULL;
    gossip_crypto *crypto = load_crypto(dir, 1, 0);
    uint64_t value = 7;
    double number = 7;
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_config_set(config, "comm.dial", 1, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_config_set(config, "c_core.retries", 2, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_config_set(config, "emitter.iterations", UINT64_MAX, &error));
    // A number of seconds or milliseconds instead of nanoseconds.
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_config_set(config, "comm.dial_timeout", 3, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_config_set(config, "discovery.sync_interval", 500, &error));
    check(gossip_config_set(config, "discovery.sync_interval", 0, &error), &error);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_config_value(config, "", &value, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_set_log_callback(NULL, 6, NULL, NULL, &error));
    check(gossip_msp_config_new("Org1MSP", &msp, &error), &error);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_msp_config_add(msp, 0, "name", BYTES, 5, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_msp_config_set_version(msp, 99, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_msp_config_set_node_ou(msp, 5, "peer", NULL, 0, &error));
    EXPECT(GOSSIP_PROTOCOL, gossip_message_decode(BYTES, 5, &message, &error));
    EXPECT(GOSSIP_PROTOCOL, gossip_message_new_payload(BYTES, 5, &message, &error));
    CHECK(gossip_config_name(SIZE_MAX).len == 0);
    // Every setting that is listed has a value, and takes it.
    size_t settings = 0;
    for (gossip_str name; (name = gossip_config_name(settings)).len > 0; settings++) {
        check(gossip_config_value(config, name.data, &value, &error), &error);
        check(gossip_config_set(config, name.data, value, &error), &error);
    }
    CHECK(settings > 50);
    // Whether values make sense is checked at the start.
    check(gossip_config_set(config, "comm.max_message_size", 0, &error), &error);
    EXPECT(GOSSIP_CONFIG, gossip_comm_start(crypto, config, &comm, &error));
    CHECK(comm == NULL);
    comm = start_peer(dir, 1);
    check(gossip_comm_metrics(comm, &metrics, &error), &error);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_metrics_value(metrics, "none", &number, &error));
    CHECK(gossip_metrics_count(metrics) > 10 && gossip_metrics_name(metrics, SIZE_MAX).len == 0 && number == 7);
    gossip_metrics_free(metrics);
    gossip_comm_free(comm);
    gossip_msp_config_free(msp);
    gossip_config_free(config);
    gossip_crypto_free(crypto);
}

static void refuse(void *user, const gossip_event *event)
{
    (void)user;
    if (event != NULL)
        gossip_event_ack(event, "no", NULL);
}

static void errors_say_which_peers(const char *dir)
{
    gossip_error *error = NULL;
    gossip_comm *from = start_peer(dir, 0), *to = start_peer(dir, 1);
    gossip_subscription *inbox = subscribe(to);
    check(gossip_subscription_set_callback(inbox, refuse, NULL, NULL, &error), &error);
    gossip_message *message = new_block(1, 10);
    // There is no listener on port 1.
    gossip_peer peers[] = {{.endpoint = "127.0.0.1:1"}, peer_at(to), {.endpoint = "not an endpoint"}};
    size_t acks = 7;
    gossip_result result = gossip_comm_send_with_ack(from, message, 2 * PATIENCE, 3, peers, 3, &acks, &error);
    CHECK(result == GOSSIP_UNREACHABLE && gossip_error_code(error) == result && acks == 7);
    CHECK(gossip_error_part_count(error) == 3 && gossip_error_part(error, 3) == NULL);
    // In the order of the array, independent of the order of failures.
    const gossip_result codes[] = {GOSSIP_UNREACHABLE, GOSSIP_NACK, GOSSIP_CONFIG};
    for (size_t i = 0; i < 3; i++) {
        const gossip_error *part = gossip_error_part(error, i);
        CHECK(gossip_error_peer_index(part) == i);
        CHECK(gossip_error_code(part) == codes[i] && gossip_error_message(part).len > 0);
    }
    gossip_error_free(error);
    // A peer that is none fails before anything is sent.
    gossip_peer nobody = {0};
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_comm_send(from, message, &nobody, 1, &error));
    // Sending to no peer is not an error.
    check(gossip_comm_send(from, message, NULL, 0, &error), &error);
    gossip_message_free(message);
    gossip_comm_free(from);
    gossip_comm_free(to);
    gossip_subscription_free(inbox);
}

static void answers_are_given_once(const char *dir)
{
    gossip_error *error = NULL;
    gossip_comm *from = start_peer(dir, 0), *to = start_peer(dir, 1);
    gossip_subscription *inbox = subscribe(to), *events = NULL;
    check(gossip_comm_events(from, &events, &error), &error);
    gossip_message *message = new_block(1, 10);
    gossip_peer peer = peer_at(to);
    gossip_ack_handle *ack = NULL;
    check(gossip_comm_send_tracked(from, message, GOSSIP_SECOND, &peer, &ack, &error), &error);
    gossip_event *event = receive(inbox), *clone = NULL;
    EXPECT(GOSSIP_INVALID_UTF8, gossip_event_ack(event, NOT_UTF8, &error));
    check(gossip_event_clone(event, &clone, &error), &error);
    check(gossip_event_ack(clone, NULL, &error), &error);
    EXPECT(GOSSIP_ALREADY_ACKNOWLEDGED, gossip_event_ack(event, NULL, &error));
    check(gossip_ack_handle_wait(ack, PATIENCE, &error), &error);
    CHECK(gossip_ack_handle_nonce(ack) == gossip_message_nonce(gossip_event_message(clone)));
    // An event without a message cannot be answered.
    gossip_event *connected = receive(events);
    CHECK(gossip_event_kind_of(connected) == GOSSIP_EVENT_CONNECTED && gossip_event_message(connected) == NULL);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_event_ack(connected, NULL, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_event_respond(connected, message, &error));
    gossip_member member;
    CHECK(!gossip_event_member(connected, &member) && gossip_event_message_at(event, 1) == NULL);
    gossip_event_free(connected);
    gossip_event_free(event);
    gossip_event_free(clone);
    gossip_ack_handle_free(ack);
    gossip_message_free(message);
    gossip_subscription_free(events);
    gossip_subscription_free(inbox);
    gossip_comm_free(to);
    gossip_comm_free(from);
}

static void lists_end(const char *dir)
{
    gossip_error *error = NULL;
    gossip_comm *comm = start_peer(dir, 0);
    gossip_connection_list *list = NULL;
    gossip_connection connection;
    check(gossip_comm_connections(comm, &list, &error), &error);
    CHECK(gossip_connection_list_len(list) == 0);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_connection_list_at(list, 0, &connection, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_connection_list_at(list, SIZE_MAX, &connection, &error));
    gossip_connection_list_free(list);
    gossip_comm_free(comm);
}

// After the stop every call still returns, and reports that it has stopped.
static void use_after_the_stop(const char *dir)
{
    gossip_error *error = NULL;
    gossip_comm *comm = start_peer(dir, 0);
    gossip_subscription *inbox = subscribe(comm), *late = NULL;
    gossip_message *message = new_block(1, 10);
    gossip_event *event = NULL;
    gossip_peer peer = {.endpoint = "127.0.0.1:1"};
    gossip_ack_handle *ack = NULL;
    stop(comm);
    stop(comm);
    EXPECT(GOSSIP_STOPPED, gossip_subscription_recv(inbox, GOSSIP_FOREVER, &event, &error));
    EXPECT(GOSSIP_STOPPED, gossip_comm_send(comm, message, &peer, 1, &error));
    EXPECT(GOSSIP_STOPPED, gossip_comm_connect(comm, &peer, PATIENCE, NULL, &error));
    EXPECT(GOSSIP_STOPPED, gossip_comm_send_tracked(comm, message, PATIENCE, &peer, &ack, &error));
    check(gossip_comm_accept(comm, NULL, NULL, NULL, NULL, &late, &error), &error);
    EXPECT(GOSSIP_STOPPED, gossip_subscription_recv(late, GOSSIP_FOREVER, &event, &error));
    CHECK(event == NULL && ack == NULL);
    gossip_message_free(message);
    gossip_comm_free(comm);
    gossip_subscription_free(inbox);
    gossip_subscription_free(late);
}

// Objects that others depend on are freed first.
static void freed_in_the_wrong_order(const char *dir)
{
    gossip_error *error = NULL;
    gossip_crypto *crypto = load_crypto(dir, 1, 0);
    gossip_config *config = load_config(dir, 1, 0, 1);
    gossip_comm *from = NULL, *to = start_peer(dir, 1);
    gossip_node *node = NULL;
    check(gossip_comm_start(crypto, config, &from, &error), &error);
    check(gossip_node_start(crypto, config, NULL, &node, &error), &error);
    gossip_config_free(config);
    gossip_crypto_free(crypto);

    gossip_comm *of_node = NULL;
    check(gossip_node_comm(node, &of_node, &error), &error);
    gossip_member_list *list = NULL;
    check(gossip_node_self(node, &list, &error), &error);
    gossip_node_free(node);
    gossip_message *message = new_block(1, 10);
    gossip_peer peer = peer_at(to);
    EXPECT(GOSSIP_STOPPED, gossip_comm_send(of_node, message, &peer, 1, &error));
    gossip_comm_free(of_node);
    gossip_member self;
    check(gossip_member_list_at(list, 0, &self, &error), &error);
    CHECK(self.internal_endpoint.len > 0);
    gossip_member_list_free(list);

    gossip_subscription *inbox = subscribe(to);
    gossip_ack_handle *ack = NULL;
    check(gossip_comm_send_tracked(from, message, PATIENCE, &peer, &ack, &error), &error);
    gossip_message_free(message);
    gossip_event *event = receive(inbox);
    gossip_message *clone = NULL;
    check(gossip_message_clone(gossip_event_message(event), &clone, &error), &error);
    check(gossip_subscription_recv(inbox, 0, &event, NULL) == GOSSIP_TIMEOUT ? GOSSIP_OK : GOSSIP_INTERNAL, &error);
    gossip_comm_free(to);
    gossip_comm_free(from);
    gossip_result result = gossip_ack_handle_wait(ack, PATIENCE, NULL);
    CHECK(result == GOSSIP_DISCONNECTED || result == GOSSIP_STOPPED);
    CHECK(gossip_event_ack(event, NULL, NULL) != GOSSIP_OK && gossip_event_identity(event).len > 0);
    EXPECT(GOSSIP_STOPPED, gossip_subscription_recv(inbox, GOSSIP_FOREVER, &event, &error));
    gossip_subscription_free(inbox);
    gossip_event_free(event);
    CHECK(gossip_message_data(clone).len == 10 && gossip_message_seq_num(clone) == 1);
    gossip_message_free(clone);
    gossip_ack_handle_free(ack);
}

// A channel that was never joined, elements beyond the end of a list, and texts that are none.
static void channels_and_their_members(const char *dir)
{
    gossip_error *error = NULL;
    gossip_node *node = NULL;
    gossip_channel_orgs *orgs = NULL;
    gossip_channel_member_list *list = NULL;
    gossip_channel_member member;
    gossip_chaincode chaincode;
    const char *names[] = {"basic", NULL}, *versions[] = {"1.0", "2.0"}, *binary[] = {"\xff"};
    gossip_crypto *crypto = load_crypto(dir, 1, 0);
    gossip_config *config = load_config(dir, 1, 0, 1);
    check(gossip_node_start(crypto, config, NULL, &node, &error), &error);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_node_peers_of_channel(node, "mychannel", &list, &error));
    EXPECT(GOSSIP_CONFIG, gossip_node_update_chaincodes(node, "mychannel", names, versions, 1, &error));
    check(gossip_channel_orgs_new(&orgs, &error), &error);
    check(gossip_channel_orgs_add(orgs, "Org2MSP", &error), &error);
    EXPECT(GOSSIP_CONFIG, gossip_node_join_channel(node, "mychannel", orgs, &error)); // our organisation is missing
    check(gossip_channel_orgs_add(orgs, "Org1MSP", &error), &error);
    check(gossip_node_join_channel(node, "mychannel", orgs, &error), &error);
    EXPECT(GOSSIP_NULL_POINTER, gossip_node_update_chaincodes(node, "mychannel", names, versions, 2, &error));
    EXPECT(GOSSIP_INVALID_UTF8, gossip_node_update_chaincodes(node, "mychannel", binary, versions, 1, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_node_update_chaincodes(node, "mychannel", names, versions, SIZE_MAX, &error));
    static char large[300 << 10];
    memset(large, 'x', sizeof large - 1);
    const char *too_large = large;
    EXPECT(GOSSIP_TOO_LARGE, gossip_node_update_chaincodes(node, "mychannel", &too_large, versions, 1, &error));
    check(gossip_node_update_chaincodes(node, "mychannel", names, versions, 1, &error), &error);
    check(gossip_node_update_chaincodes(node, "mychannel", NULL, NULL, 0, &error), &error);
    check(gossip_node_peers_of_channel(node, "mychannel", &list, &error), &error);
    CHECK(gossip_channel_member_list_len(list) == 0);
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_channel_member_list_at(list, 0, &member, &error));
    EXPECT(GOSSIP_INVALID_ARGUMENT, gossip_channel_member_list_chaincode(list, 0, SIZE_MAX, &chaincode, &error));
    gossip_channel_member_list_free(list);
    check(gossip_node_leave_channel(node, "mychannel", &error), &error);
    EXPECT(GOSSIP_CONFIG, gossip_node_update_chaincodes(node, "mychannel", names, versions, 1, &error));
    gossip_channel_orgs_free(orgs);
    gossip_config_free(config);
    gossip_crypto_free(crypto);
    gossip_node_free(node);
}

// A subscription with room for one block, which waits without limit, is closed and not freed: it delays no other.
static void closed_it_holds_up_nobody(const char *dir)
{
    gossip_error *error = NULL;
    gossip_comm *from = start_peer(dir, 0), *to = start_peer(dir, 1);
    gossip_subscription_options options = {.size = sizeof options, .capacity = 1, .wait = GOSSIP_FOREVER};
    gossip_subscription *full = NULL, *inbox = subscribe(to);
    check(gossip_comm_accept(to, &options, NULL, NULL, NULL, &full, &error), &error);
    gossip_peer peer = peer_at(to);
    for (uint64_t i = 0; i < 4; i++)
        send_block(from, &peer, i);
    gossip_event_free(receive(inbox));
    gossip_event_free(receive(inbox));
    gossip_subscription_close(full);
    gossip_event_free(receive(inbox));
    gossip_event_free(receive(inbox));
    gossip_event *event = NULL;
    EXPECT(GOSSIP_STOPPED, gossip_subscription_recv(full, GOSSIP_FOREVER, &event, &error));
    CHECK(event == NULL && gossip_subscription_len(full) == 0 && gossip_subscription_missed(full) == 0);
    int fd = -1;
    check(gossip_subscription_fd(full, &fd, &error), &error);
    gossip_subscription_free(full);
    gossip_subscription_free(inbox);
    gossip_comm_free(from);
    gossip_comm_free(to);
}

int main(int argc, char **argv)
{
    const char *dir = dir_argument(argc, argv);
    text_that_is_not_utf8(dir);
    absurd_sizes(dir);
    structures_of_another_size(dir);
    numbers_and_names_that_are_none(dir);
    errors_say_which_peers(dir);
    answers_are_given_once(dir);
    lists_end(dir);
    use_after_the_stop(dir);
    freed_in_the_wrong_order(dir);
    channels_and_their_members(dir);
    closed_it_holds_up_nobody(dir);
    return EXIT_SUCCESS;
}
