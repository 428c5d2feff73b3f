// NULL everywhere: every function of the header with nothing but NULL and 0, and with each argument that must not be NULL
// as the only one that is. A code, an error that names the argument, and nothing written. The calls are generated from the
// header: null.awk.
#include "test.h"

// A handle of each type, to give where another argument is NULL.
static struct {
    const char *text;
    const uint8_t *data;
    gossip_peer peer;
    gossip_crypto_callbacks callbacks;
    gossip_subscription_options *subscription_options;
    gossip_msp *msp;
    const gossip_msp *of_channel;
    gossip_msp_config *msp_config;
    gossip_crypto *crypto;
    gossip_tls_config *tls_config;
    gossip_tls *tls;
    gossip_config *config;
    gossip_message *message;
    gossip_event *event;
    gossip_subscription *subscription;
    gossip_comm *comm;
    gossip_node *node;
    gossip_channel_orgs *channel_orgs;
    gossip_member_list *member_list;
    gossip_channel_member_list *channel_member_list;
    gossip_connection_list *connection_list;
    gossip_identity_list *identity_list;
    gossip_seed_list *seed_list;
    gossip_metrics *metrics;
} valid;

// Where results would go. It stays as it is.
static struct {
    gossip_msp *msp;
    gossip_msp_config *msp_config;
    gossip_crypto *crypto;
    gossip_buffer *buffer;
    gossip_tls_config *tls_config;
    gossip_tls *tls;
    gossip_config *config;
    gossip_message *message;
    gossip_event *event;
    gossip_subscription *subscription;
    gossip_comm *comm;
    gossip_node *node;
    gossip_ack_handle *ack_handle;
    gossip_channel_orgs *channel_orgs;
    gossip_member_list *member_list;
    gossip_channel_member_list *channel_member_list;
    gossip_connection_list *connection_list;
    gossip_identity_list *identity_list;
    gossip_seed_list *seed_list;
    gossip_metrics *metrics;
    gossip_member member_at;
    gossip_channel_member channel_member_at;
    gossip_chaincode chaincode_at;
    gossip_connection connection_at;
    gossip_identity identity_at;
    gossip_seed seed_at;
    bool bool_out;
    double double_out;
    int int_out;
    uint64_t uint64_t_out;
    size_t size_t_out;
} none, untouched;

static int faults;

static void valid_free_callback(void *user)
{
    (void)user;
    failed(__FILE__, __LINE__, "what a failed call was given is still the caller's");
}

static void valid_event_callback(void *user, const gossip_event *event)
{
    (void)user, (void)event;
}

static bool valid_predicate(void *user, const gossip_event *event)
{
    (void)user, (void)event;
    return false;
}

static bool valid_identity_predicate(void *user, gossip_bytes identity)
{
    (void)user, (void)identity;
    return false;
}

static bool valid_sign_digest_callback(void *user, const uint8_t *digest, size_t digest_len, gossip_reply *reply)
{
    (void)user, (void)digest, (void)digest_len, (void)reply;
    return false;
}

static bool valid_block_verifier(void *user, const gossip_message *message, gossip_reply *reply)
{
    (void)user, (void)message, (void)reply;
    return true;
}

static void zero_str(gossip_str text)
{
    CHECK(text.data != NULL && text.data[text.len] == 0);
}

static void zero_bytes(gossip_bytes bytes)
{
    CHECK(bytes.data != NULL && bytes.len == 0);
}

static void zero_pointer(const void *pointer)
{
    CHECK(pointer == NULL);
}

static void zero_number(uint64_t number)
{
    // The last moment there is, of certificates that never expire.
    CHECK(number == 0 || number == (uint64_t)INT64_MAX);
}

// The function with nothing but zeros, and with a place for its error.
static void zeros(const char *name, gossip_result result, gossip_error **error)
{
    gossip_result wanted = strcmp(name, "gossip_set_log_callback") == 0 ? GOSSIP_OK : GOSSIP_NULL_POINTER;
    if (result != wanted || (error != NULL && gossip_error_code(*error) != wanted)) {
        fprintf(stderr, "%s: nothing but NULL: %s\n", name, gossip_result_name(result).data);
        faults++;
    }
    if (error != NULL)
        gossip_error_free(*error);
}

// The function with one argument that is NULL.
static void one(const char *name, const char *argument, gossip_result result, gossip_error **error)
{
    if (result != GOSSIP_NULL_POINTER || strstr(gossip_error_message(*error).data, "NULL") == NULL ||
        memcmp(&none, &untouched, sizeof none) != 0) {
        fprintf(stderr, "%s: %s: %s: %s\n", name, argument, gossip_result_name(result).data,
                gossip_error_message(*error).data);
        faults++;
    }
    gossip_error_free(*error);
}

static void make_valid(const char *dir)
{
    gossip_error *error = NULL;
    char folder[1024];
    snprintf(folder, sizeof folder, "%.900s/peerOrganizations/org1.example.com/msp", dir);
    valid.text = "text";
    valid.data = (const uint8_t *)"data";
    valid.callbacks.size = sizeof valid.callbacks;
    valid.crypto = load_crypto(dir, 1, 0);
    valid.config = load_config(dir, 1, 0, 1);
    check(gossip_msp_load(folder, "Org1MSP", &valid.msp, &error), &error);
    valid.of_channel = valid.msp;
    check(gossip_msp_config_new("Org1MSP", &valid.msp_config, &error), &error);
    char roots[1024];
    check(gossip_tls_config_new(&valid.tls_config, &error), &error);
    peer_path(roots, dir, 1, 0, "tls/ca.crt");
    check(gossip_tls_config_add_roots_file(valid.tls_config, roots, &error), &error);
    check(gossip_tls_new(valid.tls_config, &valid.tls, &error), &error);
    valid.message = new_block(1, 10);
    check(gossip_channel_orgs_new(&valid.channel_orgs, &error), &error);
    check(gossip_channel_orgs_add(valid.channel_orgs, "Org1MSP", &error), &error);
    check(gossip_node_start(valid.crypto, valid.config, NULL, &valid.node, &error), &error);
    valid.comm = start_peer(dir, 1);
    valid.peer = peer_at(valid.comm);

    // An event, from the node to the comm.
    valid.subscription = subscribe(valid.comm);
    check(gossip_node_send(valid.node, valid.message, &valid.peer, 1, &error), &error);
    valid.event = receive(valid.subscription);

    check(gossip_node_self(valid.node, &valid.member_list, &error), &error);
    check(gossip_node_join_channel(valid.node, "mychannel", valid.channel_orgs, &error), &error);
    check(gossip_node_peers_of_channel(valid.node, "mychannel", &valid.channel_member_list, &error), &error);
    check(gossip_comm_connections(valid.comm, &valid.connection_list, &error), &error);
    check(gossip_node_identities(valid.node, &valid.identity_list, &error), &error);
    check(gossip_node_seeds(valid.node, &valid.seed_list, &error), &error);
    check(gossip_comm_metrics(valid.comm, &valid.metrics, &error), &error);
}

static void free_valid(void)
{
    gossip_metrics_free(valid.metrics);
    gossip_seed_list_free(valid.seed_list);
    gossip_identity_list_free(valid.identity_list);
    gossip_connection_list_free(valid.connection_list);
    gossip_channel_member_list_free(valid.channel_member_list);
    gossip_member_list_free(valid.member_list);
    gossip_event_free(valid.event);
    gossip_subscription_free(valid.subscription);
    gossip_comm_free(valid.comm);
    gossip_node_free(valid.node);
    gossip_channel_orgs_free(valid.channel_orgs);
    gossip_message_free(valid.message);
    gossip_tls_free(valid.tls);
    gossip_tls_config_free(valid.tls_config);
    gossip_config_free(valid.config);
    gossip_crypto_free(valid.crypto);
    gossip_msp_config_free(valid.msp_config);
    gossip_msp_free(valid.msp);
}

int main(int argc, char **argv)
{
    gossip_error *error = NULL;
    make_valid(dir_argument(argc, argv));
#include "null_calls.h"
    free_valid();
    printf("null: %d functions, %d arguments\n", FUNCTIONS, ARGUMENTS);
    return faults == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
