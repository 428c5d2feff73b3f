// Every kind of handle made and freed 10,000 times: memory, threads and file descriptors do not grow. Handles that
// start threads and listen are made less often, with the same bound.
#include "test.h"

#include <dirent.h>
#include <sched.h>

// Set for Valgrind by the compiling script.
#ifndef SANITIZED
#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1 // Freed memory is kept for a while: there the sanitizer finds leaks.
#else
#define SANITIZED 0
#endif
#endif

static const char *dir;
static gossip_crypto *crypto;
static gossip_msp *msp;
static gossip_comm *from, *to;
static gossip_node *node;
static gossip_event *event;
static gossip_message *block;
static gossip_tls_config *files;
static char *pem;
static size_t pem_len;
static gossip_error *error;

static long status(const char *name)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "r");
    CHECK(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtol(line + strlen(name), NULL, 10);
    fclose(file);
    CHECK(value > 0);
    return value;
}

static long descriptors(void)
{
    long count = 0;
    DIR *folder = opendir("/proc/self/fd");
    CHECK(folder != NULL);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count;
}

// Returns the growth after `times` cycles. Resources that end at the other side of a connection, or were joined, can
// remain for a moment longer.
static long grown(int times, void (*once)(void))
{
    long memory = status("VmRSS:"), threads = status("Threads:"), open = descriptors();
    for (int i = 0; i < times; i++)
        once();
    // The C core has a few threads that come and go; whatever leaks here leaks one each time.
    for (time_t until = time(NULL) + 60; time(NULL) < until;) {
        if (status("Threads:") < threads + 10 && descriptors() < open + 10)
            break;
        sched_yield();
    }
    CHECK(status("Threads:") < threads + 10 && descriptors() < open + 10);
    return status("VmRSS:") - memory;
}

static void cycle(const char *name, int times, void (*once)(void))
{
    grown(times / 5, once); // Permanent allocations exist by then.
    long growth = grown(times, once);
    // With many threads the allocator reaches a steady state only after a while; a leak never does.
    for (int more = 0; growth >= 256 && more < 5 && !SANITIZED; more++)
        growth = grown(times, once);
    printf("%-20s %6d times: %+ld KiB\n", name, times, growth);
    CHECK(SANITIZED || growth < 256);
}

static void msp_config(void)
{
    gossip_msp_config *config = NULL;
    gossip_msp *made = NULL;
    check(gossip_msp_config_new("Org1MSP", &config, &error), &error);
    check(gossip_msp_config_add(config, GOSSIP_MSP_ROOT, "ca", (const uint8_t *)pem, pem_len, &error), &error);
    check(gossip_msp_config_set_node_ou(config, GOSSIP_MSP_ADMINISTRATOR, "admin", NULL, 0, &error), &error);
    check(gossip_msp_new(config, &made, &error), &error);
    gossip_msp_config_free(config);
    gossip_msp_free(made);
}

static void trusted(void)
{
    check(gossip_crypto_trust(crypto, msp, &error), &error);
}

static void crypto_load(void)
{
    gossip_crypto_free(load_crypto(dir, 1, 0));
}

static void tls(void)
{
    gossip_tls *made = NULL;
    check(gossip_tls_new(files, &made, &error), &error);
    check(gossip_tls_replace(made, files, &error), &error);
    gossip_tls_free(made);
}

static void config(void)
{
    gossip_config *made = NULL;
    check(gossip_config_new(&made, &error), &error);
    check(gossip_config_set_listen(made, "127.0.0.1:0", &error), &error);
    check(gossip_config_add_bootstrap(made, "127.0.0.1:1", &error), &error);
    gossip_config_free(made);
}

static void message(void)
{
    gossip_message *made = new_block(1, 1000), *again = NULL, *is_signed = NULL;
    gossip_bytes wire = gossip_message_wire(made);
    check(gossip_message_decode(wire.data, wire.len, &again, &error), &error);
    check(gossip_message_sign(made, crypto, &is_signed, &error), &error);
    gossip_message_free(made);
    gossip_message_text(again);
    gossip_message_free(again);
    gossip_message_free(is_signed);
}

static void clones(void)
{
    gossip_event *clone = NULL;
    gossip_message *lent = NULL;
    check(gossip_event_clone(event, &clone, &error), &error);
    check(gossip_message_clone(gossip_event_message(clone), &lent, &error), &error);
    gossip_event_endpoint(clone);
    gossip_event_free(clone);
    gossip_message_free(lent);
}

static void errors(void)
{
    gossip_message *none = NULL;
    EXPECT(GOSSIP_PROTOCOL, gossip_message_decode((const uint8_t *)"none", 4, &none, &error));
    gossip_peer peers[] = {{.endpoint = "no"}, {.endpoint = "none"}};
    CHECK(gossip_comm_send(from, none, peers, 2, &error) == GOSSIP_NULL_POINTER);
    gossip_error_free(error);
}

static void lists(void)
{
    gossip_connection_list *connections = NULL;
    gossip_member_list *members = NULL;
    gossip_channel_member_list *of_channel = NULL;
    gossip_identity_list *identities = NULL;
    gossip_seed_list *seeds = NULL;
    gossip_metrics *metrics = NULL;
    gossip_buffer *org = NULL;
    gossip_channel_orgs *orgs = NULL;
    gossip_bytes id = gossip_comm_pki_id(from);
    check(gossip_comm_connections(from, &connections, &error), &error);
    check(gossip_node_self(node, &members, &error), &error);
    check(gossip_node_identities(node, &identities, &error), &error);
    check(gossip_node_seeds(node, &seeds, &error), &error);
    check(gossip_node_metrics(node, &metrics, &error), &error);
    check(gossip_comm_org(from, id.data, id.len, &org, &error), &error);
    check(gossip_channel_orgs_new(&orgs, &error), &error);
    check(gossip_channel_orgs_add_anchor(orgs, "Org1MSP", "host", 7051, &error), &error);
    gossip_connection_list_free(connections);
    gossip_member_list_free(members);
    gossip_identity_list_free(identities);
    gossip_seed_list_free(seeds);
    gossip_metrics_free(metrics);
    gossip_buffer_free(org);
    check(gossip_node_peers_of_channel(node, "mychannel", &of_channel, &error), &error);
    gossip_channel_member_list_free(of_channel);
    gossip_channel_orgs_free(orgs);
}

static bool wants_nothing(void *user, const gossip_event *lent)
{
    (void)user, (void)lent;
    return false;
}

static void subscription(void)
{
    gossip_subscription *made = NULL, *notices = NULL;
    int fd = -1;
    char *user = malloc(100);
    check(gossip_comm_accept(to, NULL, wants_nothing, user, free, &made, &error), &error);
    check(gossip_subscription_fd(made, &fd, &error), &error);
    check(gossip_node_notices(node, &notices, &error), &error);
    gossip_subscription_free(made);
    gossip_subscription_free(notices);
}

static void on_event(void *user, const gossip_event *lent)
{
    (void)user, (void)lent;
}

static void callback(void)
{
    gossip_subscription *made = subscribe(to);
    check(gossip_subscription_set_callback(made, on_event, malloc(100), free, &error), &error);
    gossip_subscription_free(made);
}

static void log_callback(void *user, gossip_log_level level, gossip_str target, gossip_str text)
{
    (void)user, (void)level, (void)target, (void)text;
}

static void logs(void)
{
    check(gossip_set_log_callback(log_callback, GOSSIP_LOG_ERROR, malloc(100), free, &error), &error);
}

static void ack(void)
{
    gossip_peer peer = peer_at(to);
    gossip_ack_handle *made = NULL;
    check(gossip_comm_send_tracked(from, block, PATIENCE, &peer, &made, &error), &error);
    CHECK(gossip_ack_handle_wait(made, 0, NULL) == GOSSIP_TIMEOUT);
    gossip_ack_handle_free(made);
}

static void comm(void)
{
    gossip_comm *made = start_peer(dir, 2);
    gossip_peer peer = peer_at(to);
    check(gossip_comm_connect(made, &peer, PATIENCE, NULL, &error), &error);
    gossip_comm_free(made);
}

static void nodes(void)
{
    gossip_node *made = NULL;
    gossip_config *settings = load_config(dir, 1, 0, 1);
    check(gossip_node_start(crypto, settings, NULL, &made, &error), &error);
    gossip_config_free(settings);
    gossip_node_free(made);
}

int main(int argc, char **argv)
{
    dir = dir_argument(argc, argv);
    // Number of cycles: fewer under a sanitizer or Valgrind, where everything takes longer and a leak is found
    // immediately.
    const char *given = getenv("CYCLES");
    int times = given != NULL ? atoi(given) : 10000;
    CHECK(times >= 1000);

    char path[1024];
    snprintf(path, sizeof path, "%.900s/peerOrganizations/org1.example.com/msp", dir);
    check(gossip_msp_load(path, "Org1MSP", &msp, &error), &error);
    snprintf(path, sizeof path, "%.900s/peerOrganizations/org1.example.com/ca/ca.org1.example.com-cert.pem", dir);
    FILE *file = fopen(path, "r");
    CHECK(file != NULL && (pem = calloc(1, 10000)) != NULL);
    pem_len = fread(pem, 1, 9999, file);
    fclose(file);
    check(gossip_tls_config_new(&files, &error), &error);
    check(gossip_tls_config_add_roots_file(files, peer_path(path, dir, 1, 0, "tls/ca.crt"), &error), &error);

    crypto = load_crypto(dir, 1, 0);
    gossip_config *settings = load_config(dir, 1, 0, 1);
    check(gossip_node_start(crypto, settings, NULL, &node, &error), &error);
    gossip_config_free(settings);
    gossip_channel_orgs *orgs = NULL;
    check(gossip_channel_orgs_new(&orgs, &error), &error);
    check(gossip_channel_orgs_add(orgs, "Org1MSP", &error), &error);
    check(gossip_node_join_channel(node, "mychannel", orgs, &error), &error);
    gossip_channel_orgs_free(orgs);
    from = start_peer(dir, 0);
    to = start_peer(dir, 1);
    gossip_subscription *inbox = subscribe(to);
    gossip_peer peer = peer_at(to);
    block = new_block(1, 10);
    send_block(from, &peer, 1);
    event = receive(inbox);
    gossip_subscription_free(inbox);

    cycle("MSP", times, msp_config);
    cycle("trust", times, trusted);
    cycle("crypto", times / 10, crypto_load);
    cycle("TLS", times, tls);
    cycle("configuration", times, config);
    cycle("message", times, message);
    cycle("clones", times, clones);
    cycle("errors", times, errors);
    cycle("lists", times, lists);
    cycle("subscription", times, subscription);
    cycle("callback", times, callback);
    cycle("log callback", times, logs);
    check(gossip_set_log_callback(NULL, 0, NULL, NULL, &error), &error);
    cycle("acknowledgement", times, ack);
    check(gossip_comm_flush(from, 2 * PATIENCE, &error), &error);
    cycle("comm", times / 50, comm);
    cycle("node", times / 50, nodes);

    free(pem);
    gossip_event_free(event);
    gossip_message_free(block);
    gossip_tls_config_free(files);
    gossip_node_free(node);
    gossip_comm_free(from);
    gossip_comm_free(to);
    gossip_crypto_free(crypto);
    gossip_msp_free(msp);
    return EXIT_SUCCESS;
}
