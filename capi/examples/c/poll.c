// Gossip in an event loop: lines from standard input go to a peer, and the messages which that peer receives are
// printed, on one thread that waits in poll(2) for both. (Both peers are in this process, over mutual TLS on loopback.)
//
//   fabric-gossip crypto --orgs 2 --peers 3 DIR
//   cc -std=c11 poll.c $(pkg-config --cflags --libs fabric-gossip) -o poll && printf 'one\ntwo\n' | ./poll DIR
//
// prints:
//
// ```text
// received "one"
// received "two"
// stopped after 2 messages
// ```
#define _POSIX_C_SOURCE 200809L

#include "common.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static gossip_comm *start(const char *dir, int peer)
{
    gossip_error *error = NULL;
    gossip_comm *comm = NULL;
    gossip_crypto *crypto = load_crypto(dir, 1, peer);
    gossip_config *config = load_config(dir, 1, peer, 1);
    check(gossip_comm_start(crypto, config, &comm, &error), &error);
    gossip_config_free(config);
    gossip_crypto_free(crypto);
    return comm;
}

// Sends each whole line in the buffer; the rest is the beginning of the next line. Does not block.
static size_t send_lines(const gossip_comm *comm, const gossip_peer *to, char *buffer, size_t *length)
{
    size_t sent = 0;
    char *line = buffer, *end;
    while ((end = memchr(line, '\n', *length - (size_t)(line - buffer))) != NULL) {
        gossip_error *error = NULL;
        gossip_message *message = NULL;
        size_t len = (size_t)(end - line);
        check(gossip_message_new_data("mychannel", 1, (const uint8_t *)line, len, &message, &error), &error);
        check(gossip_comm_send(comm, message, to, 1, &error), &error);
        gossip_message_free(message);
        line = end + 1;
        sent++;
    }
    *length -= (size_t)(line - buffer);
    memmove(buffer, line, *length);
    return sent;
}

// Takes messages until there are none: only then the file descriptor is no longer readable. Does not block.
static size_t print_received(const gossip_subscription *inbox)
{
    for (size_t received = 0;; received++) {
        gossip_error *error = NULL;
        gossip_event *event = NULL;
        gossip_result result = gossip_subscription_recv(inbox, 0, &event, &error);
        if (result == GOSSIP_TIMEOUT) {
            gossip_error_free(error);
            return received;
        }
        check(result, &error);
        gossip_bytes text = gossip_message_data(gossip_event_message(event));
        printf("received \"%.*s\"\n", (int)text.len, (const char *)text.data);
        gossip_event_free(event);
    }
}

int main(int argc, char **argv)
{
    const char *dir = dir_argument(argc, argv);
    gossip_error *error = NULL;
    gossip_comm *sender = start(dir, 0), *receiver = start(dir, 1);
    gossip_peer to = {.endpoint = gossip_comm_local_addr(receiver).data};

    gossip_subscription *inbox = NULL;
    int inbox_fd = -1;
    check(gossip_comm_accept(receiver, NULL, NULL, NULL, NULL, &inbox, &error), &error);
    check(gossip_subscription_fd(inbox, &inbox_fd, &error), &error);

    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = inbox_fd, .events = POLLIN}};
    char buffer[4096];
    size_t length = 0, sent = 0, received = 0;
    bool open = true;
    while (open || received < sent) {
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue;
            perror("poll");
            return EXIT_FAILURE;
        }
        if (fds[0].revents != 0) {
            ssize_t count = read(STDIN_FILENO, buffer + length, sizeof buffer - length);
            if (count < 0) {
                perror("read");
                return EXIT_FAILURE;
            }
            length += (size_t)count;
            sent += send_lines(sender, &to, buffer, &length);
            if (count == 0 || length == sizeof buffer) { // The end, or a line that is too long.
                fds[0].fd = -1;                          // poll passes over it.
                open = false;
            }
        }
        if (fds[1].revents != 0)
            received += print_received(inbox);
    }

    // The subscription keeps its file descriptor until it is freed.
    check(gossip_comm_stop(sender, 0, &error), &error);
    check(gossip_comm_stop(receiver, 0, &error), &error);
    gossip_subscription_free(inbox);
    gossip_comm_free(sender);
    gossip_comm_free(receiver);
    printf("stopped after %zu messages\n", received);
    return EXIT_SUCCESS;
}
