/* A line with a delay between two network namespaces, for kernels without netem.
 *
 *     wanlink LEFT RIGHT MICROSECONDS
 *
 * makes two TUN devices with these names in its own namespace and prints "ready". From then on, each packet
 * sent to one device leaves the other after the given delay, in order. The caller may move a device into
 * another namespace. The kernel removes the devices when the process ends.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ull

/* 16,384 packets of 1,500 bytes in 100 ms, half of a round trip of 200 ms, are close to 2 Gbit/s. */
enum { ROOM = 1 << 14, LARGEST = 2048, BATCH = 256 };

struct packet {
    uint64_t due;
    ssize_t size;
    unsigned char bytes[LARGEST];
};

/* One direction: a ring buffer of the delayed packets. `entered` and `left` are counters that only grow. */
struct lane {
    struct packet *ring;
    unsigned entered, left;
    int from, to;
};

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * SECOND + (uint64_t)t.tv_nsec;
}

static int open_tun(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    snprintf(request.ifr_name, IFNAMSIZ, "%s", name);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        perror("wanlink: /dev/net/tun");
        exit(1);
    }
    return fd;
}

static int is_full(const struct lane *lane) { return lane->entered - lane->left == ROOM; }

static struct packet *oldest(const struct lane *lane) {
    return lane->entered == lane->left ? NULL : &lane->ring[lane->left % ROOM];
}

static void take_in(struct lane *lane, uint64_t delay) {
    for (int i = 0; i < BATCH && !is_full(lane); i++) {
        struct packet *packet = &lane->ring[lane->entered % ROOM];
        packet->size = read(lane->from, packet->bytes, LARGEST);
        if (packet->size <= 0) return;
        packet->due = now() + delay;
        lane->entered++;
    }
}

static void let_out(struct lane *lane) {
    uint64_t time = now();
    for (struct packet *packet; (packet = oldest(lane)) && packet->due <= time; lane->left++)
        if (write(lane->to, packet->bytes, (size_t)packet->size) < 0 && errno == EAGAIN) return;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: wanlink LEFT RIGHT MICROSECONDS\n");
        return 2;
    }
    uint64_t delay = strtoull(argv[3], NULL, 10) * 1000;
    int left = open_tun(argv[1]), right = open_tun(argv[2]);
    struct lane lanes[2] = {{.from = left, .to = right}, {.from = right, .to = left}};
    for (int i = 0; i < 2; i++)
        if (!(lanes[i].ring = malloc(sizeof(struct packet) * ROOM))) return 1;
    puts("ready");
    fflush(stdout);
    for (;;) {
        uint64_t time = now(), wake = time + SECOND;
        struct pollfd wanted[2];
        for (int i = 0; i < 2; i++) {
            struct packet *first = oldest(&lanes[i]);
            if (first && first->due < wake) wake = first->due;
            wanted[i] = (struct pollfd){.fd = is_full(&lanes[i]) ? -1 : lanes[i].from, .events = POLLIN};
        }
        uint64_t pause = wake > time ? wake - time : 0;
        struct timespec limit = {(time_t)(pause / SECOND), (long)(pause % SECOND)};
        ppoll(wanted, 2, &limit, NULL);
        for (int i = 0; i < 2; i++) {
            take_in(&lanes[i], delay);
            let_out(&lanes[i]);
        }
    }
}
