/* Tests the statements of docs/c-interface.md about fork, signals and exit.
 *
 *     process DIR          DIR as `fabric-gossip crypto DIR` makes it; runs every case in its own process
 *     process DIR CASE
 */
#define _GNU_SOURCE
#include <fabric_gossip.h>

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *program, *folder;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #condition);                              \
            _exit(1);                                                                                                  \
        }                                                                                                              \
    } while (0)

static void must(gossip_result result, gossip_error *error, int line) {
    if (result != GOSSIP_OK) {
        fprintf(stderr, "line %d: %s\n", line, gossip_error_message(error).data);
        _exit(1);
    }
}
#define MUST(call) must(call, error, __LINE__)

static gossip_comm *start(int peer) {
    char home[256], cert[512], key[512], roots[512], msp[512];
    gossip_error *error = NULL;
    gossip_crypto *crypto = NULL;
    gossip_tls_config *files = NULL;
    gossip_tls *tls = NULL;
    gossip_config *config = NULL;
    gossip_comm *comm = NULL;
    snprintf(home, sizeof home, "%s/peerOrganizations/org1.example.com/peers/peer%d.org1.example.com", folder, peer);
    snprintf(msp, sizeof msp, "%s/msp", home);
    snprintf(cert, sizeof cert, "%s/tls/server.crt", home);
    snprintf(key, sizeof key, "%s/tls/server.key", home);
    snprintf(roots, sizeof roots, "%s/tls/ca.crt", home);
    MUST(gossip_crypto_load(msp, "Org1MSP", &crypto, &error));
    MUST(gossip_tls_config_new(&files, &error));
    MUST(gossip_tls_config_set_pair_files(files, cert, key, &error));
    MUST(gossip_tls_config_add_roots_file(files, roots, &error));
    MUST(gossip_tls_new(files, &tls, &error));
    MUST(gossip_config_new(&config, &error));
    MUST(gossip_config_set_listen(config, "127.0.0.1:0", &error));
    MUST(gossip_config_set_tls(config, tls, &error));
    MUST(gossip_comm_start(crypto, config, &comm, &error));
    gossip_config_free(config);
    gossip_tls_free(tls);
    gossip_tls_config_free(files);
    gossip_crypto_free(crypto);
    return comm;
}

static gossip_comm *near, *far;
static gossip_subscription *inbox;

static void acknowledge(void *user, const gossip_event *event) {
    (void)user;
    if (event != NULL) {
        gossip_event_ack(event, NULL, NULL);
    }
}

static void up(void) {
    gossip_error *error = NULL;
    near = start(0);
    far = start(1);
    MUST(gossip_comm_accept(far, NULL, NULL, NULL, NULL, &inbox, &error));
    MUST(gossip_subscription_set_callback(inbox, acknowledge, NULL, NULL, &error));
}

static void down(void) {
    gossip_comm_free(near);
    gossip_comm_free(far);
    gossip_subscription_free(inbox);
}

static gossip_message *block(size_t length) {
    static uint8_t data[1 << 20];
    gossip_error *error = NULL;
    gossip_message *message = NULL;
    MUST(gossip_message_new_data("mychannel", 1, data, length, &message, &error));
    return message;
}

/* A message goes over, and its acknowledgement comes back. */
static void exchange(void) {
    gossip_error *error = NULL;
    gossip_message *message = block(100);
    const gossip_peer peer = {.endpoint = gossip_comm_local_addr(far).data};
    MUST(gossip_comm_send_with_ack(near, message, 20 * GOSSIP_SECOND, 1, &peer, 1, NULL, &error));
    gossip_message_free(message);
}

/* How a child ended. */
static int ended(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void fork_before_the_first_call(void) {
    CHECK(gossip_version().len > 0);
    const pid_t child = fork();
    up();
    exchange();
    down();
    if (child == 0) {
        _exit(0);
    }
    CHECK(ended(child) == 0);
}

/* The descriptors of a program started with exec: only the three standard ones. */
static void descriptors(void) {
    for (int fd = 3; fd < 1024; fd++) {
        CHECK(fcntl(fd, F_GETFD) == -1);
    }
}

static void fork_and_exec_with_live_connections(void) {
    up();
    exchange();
    for (int n = 0; n < 20; n++) {
        const pid_t child = fork();
        if (child == 0) {
            execl(program, program, folder, "descriptors", (char *)NULL);
            _exit(2);
        }
        CHECK(ended(child) == 0);
    }
    exchange();
    down();
}

static void fork_and_exit_with_live_connections(void) {
    up();
    exchange();
    for (int n = 0; n < 2; n++) {
        const pid_t child = fork();
        if (child == 0) {
            alarm(30);
            if (n == 0) {
                _exit(0);
            }
            exit(0);
        }
        CHECK(ended(child) == 0);
        exchange();
    }
    down();
}

static void fork_after_everything_was_freed(void) {
    up();
    exchange();
    down();
    const pid_t child = fork();
    alarm(60);
    up();
    exchange();
    down();
    if (child == 0) {
        _exit(0);
    }
    CHECK(ended(child) == 0);
}

static void handlers_and_masks_are_left_alone(void) {
    struct sigaction before[SIGRTMAX + 1], after;
    memset(before, 0, sizeof before);
    for (int number = 1; number <= SIGRTMAX; number++) {
        sigaction(number, NULL, &before[number]);
    }
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    up();
    exchange();
    for (int number = 1; number <= SIGRTMAX; number++) {
        CHECK(sigaction(number, NULL, &after) != 0 || after.sa_handler == before[number].sa_handler);
    }
    DIR *tasks = opendir("/proc/self/task");
    int threads = 0;
    for (struct dirent *task; tasks != NULL && (task = readdir(tasks)) != NULL;) {
        char path[300], line[256];
        snprintf(path, sizeof path, "/proc/self/task/%s/status", task->d_name);
        FILE *status = task->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (status != NULL && fgets(line, sizeof line, status) != NULL) {
            unsigned long mask = 0;
            if (sscanf(line, "SigBlk: %lx", &mask) == 1) {
                threads++;
                CHECK(mask == 1UL << (SIGUSR1 - 1));
            }
        }
        if (status != NULL) {
            fclose(status);
        }
    }
    if (tasks != NULL) {
        CHECK(threads > 5);
        closedir(tasks);
    }
    down();
}

/* Its default is to end the process. */
static void sigpipe_does_not_come(void) {
    gossip_error *error = NULL;
    up();
    gossip_message *message = block(1 << 20);
    for (int n = 0; n < 100; n++) {
        const gossip_peer to = {.endpoint = gossip_comm_local_addr(far).data};
        const gossip_bytes id = gossip_comm_pki_id(near);
        const gossip_peer from = {.pki_id = id.data, .pki_id_len = id.len};
        MUST(gossip_comm_connect(near, &to, 20 * GOSSIP_SECOND, NULL, &error));
        gossip_comm_send(near, message, &to, 1, NULL);
        MUST(gossip_comm_close(far, &from, &error));
    }
    gossip_message_free(message);
    down();
}

static volatile sig_atomic_t alarms;

static void on_alarm(int number) {
    (void)number;
    alarms = alarms + 1;
}

static void interrupted_calls_go_on(void) {
    up();
    gossip_error *error = NULL;
    gossip_subscription *quiet = NULL;
    MUST(gossip_comm_events(near, &quiet, &error));
    struct sigaction action = {.sa_handler = on_alarm}; /* Without SA_RESTART. */
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    const struct itimerval storm = {{0, 1000}, {0, 1000}};
    CHECK(setitimer(ITIMER_REAL, &storm, NULL) == 0);
    struct timespec from, to;
    gossip_event *event = NULL;
    clock_gettime(CLOCK_MONOTONIC, &from);
    CHECK(gossip_subscription_recv(quiet, GOSSIP_SECOND / 2, &event, NULL) == GOSSIP_TIMEOUT);
    clock_gettime(CLOCK_MONOTONIC, &to);
    CHECK((to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000 >= 499);
    CHECK(alarms > 0);
    for (int n = 0; n < 50; n++) {
        exchange();
    }
    gossip_subscription_free(quiet);
    down();
}

static void queue_much(void) {
    up();
    exchange();
    const gossip_peer to = {.endpoint = gossip_comm_local_addr(far).data};
    gossip_message *message = block(1 << 20);
    for (int n = 0; n < 20; n++) {
        gossip_comm_send(near, message, &to, 1, NULL);
    }
    gossip_message_free(message);
}

static void exit_with_live_connections(void) {
    queue_much();
    exit(0);
}

static void return_from_main_with_live_connections(void) { queue_much(); }

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {
#define CASE(name) {#name, name}
    CASE(fork_before_the_first_call),
    CASE(fork_and_exec_with_live_connections),
    CASE(fork_and_exit_with_live_connections),
    CASE(fork_after_everything_was_freed),
    CASE(handlers_and_masks_are_left_alone),
    CASE(sigpipe_does_not_come),
    CASE(interrupted_calls_go_on),
    CASE(exit_with_live_connections),
    CASE(return_from_main_with_live_connections),
    CASE(descriptors), /* The last one is not run by itself. */
};
static const size_t count = sizeof cases / sizeof *cases;

int main(int argc, char **argv) {
    if (argc < 2) {
        return 2;
    }
    program = "/proc/self/exe";
    folder = argv[1];
    for (size_t n = 0; argc == 3 && n < count; n++) {
        if (strcmp(cases[n].name, argv[2]) == 0) {
            cases[n].run();
            return 0;
        }
    }
    CHECK(argc == 2);
    for (int fd = 3; fd < 1024; fd++) {
        fcntl(fd, F_SETFD, FD_CLOEXEC); /* Descriptors inherited by this process itself do not matter. */
    }
    int failed = 0;
    for (size_t n = 0; n + 1 < count; n++) {
        const pid_t child = fork();
        if (child == 0) {
            execl(program, argv[0], folder, cases[n].name, (char *)NULL);
            _exit(2);
        }
        const int status = ended(child);
        printf("%s %s\n", status == 0 ? "ok    " : "FAILED", cases[n].name);
        failed += status != 0;
    }
    return failed != 0;
}
