/* Declarations that the snippets of the guide to the C interface use without declaring them. */
#include <fabric_gossip.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
extern const gossip_crypto *crypto;
extern const gossip_config *config;
extern gossip_comm *comm;
extern gossip_node *node;
extern gossip_subscription *inbox;
extern gossip_message *message;
extern gossip_peer peer, peers[];
extern size_t peer_count;
extern int server;
void handle(const gossip_event *event);
void serve(int server);
bool hsm_sign(void *hsm, const uint8_t *digest, size_t length, uint8_t *signature, size_t room);
