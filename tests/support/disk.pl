# A disk of the tests, by FUSE: mounted on the folder that is named, in which there is a folder `inner` with these files:
#
#   quick     is read like any file
#   hung      is opened, and no read of it ever returns
#   unclosed  is read like any file, and closing it never returns
#   back      is a link to the working folder, so that a path can lead over this disk to anything there
#
# While there is a file `silent` in the working folder, nothing at all is answered; while there is a file `slow`, whatever is asked is
# answered so much later that to follow a path takes about a second. It ends with the process that started it.
use strict;
use warnings;
use Time::HiRes 'time';

my ($folder) = @ARGV;
my $host = getppid();
open(my $disk, '+<', '/dev/fuse') or die "no /dev/fuse: $!";
fcntl($disk, 2, 0) or die;
my $options = 'fd=' . fileno($disk) . ',rootmode=40000,user_id=0,group_id=0';
system('mount', '-i', '-t', 'fuse', '-o', $options, 'none', $folder) == 0 or die "cannot mount";

my $text = "its text";
my %names = (1 => { inner => 2 }, 2 => { quick => 3, hung => 4, unclosed => 5, back => 6 });
my $link = '../..';

# Inode, size, blocks, three times in two parts, mode, links, owner, group, device, block size, flags.
sub attributes {
    my ($node) = @_;
    my ($mode, $size) = $node < 3 ? (040755, 0) : $node == 6 ? (0120777, length $link) : (0100644, length $text);
    return pack('Q6 L10', $node, $size, 0, 0, 0, 0, 0, 0, 0, $mode, 1, 0, 0, 0, 4096, 0);
}

# What is answered to a request: an error number and a body; or nothing.
sub answer {
    my ($what, $node, $body) = @_;
    if ($what == 26) {
        return (0, pack('L L L L S S L L S S L L7', 7, 31, 0, 0, 16, 12, 65536, 1, 0, 0, 0, (0) x 7));
    }
    if ($what == 1) {
        my $found = $names{$node}{ (split /\0/, $body)[0] };
        # Looked up again each time.
        return $found ? (0, pack('Q4 L2', $found, 0, 0, 0, 0, 0) . attributes($found)) : (2, '');
    }
    return (0, pack('Q L L', 0, 0, 0) . attributes($node)) if $what == 3;
    return (0, $link) if $what == 5;
    # Reads go past the page cache.
    return (0, pack('Q L L', 1, 1, 0)) if $what == 14 || $what == 27;
    if ($what == 15) {
        return () if $node == 4;
        my (undef, $offset, $size) = unpack('Q Q L', $body);
        return (0, $offset < length $text ? substr($text, $offset, $size) : '');
    }
    return $node == 5 ? () : (0, '') if $what == 25;
    return (0, '') if $what == 18 || $what == 29;
    # To be forgotten, interrupted or unmounted is not answered.
    return () if $what == 2 || $what == 36 || $what == 42;
    return (38, '');
}

sub respond {
    my ($request) = @_;
    my ($length, $what, $unique, $node) = unpack('L L Q Q', $request);
    my ($error, $body) = answer($what, $node, substr($request, 40)) or return;
    syswrite($disk, pack('L l Q', 16 + length $body, -$error, $unique) . $body);
}

sub has_ended {
    open(my $state, '<', "/proc/$host/stat") or return 1;
    return getppid() != $host || <$state> =~ /\) [ZX] /;
}

# Requests, and when they are to be answered.
my @late;
until (has_ended()) {
    my $waiting = '';
    vec($waiting, fileno($disk), 1) = 1;
    respond((shift @late)->[1]) while !-e 'silent' && @late && $late[0][0] <= time();
    if (-e 'silent' || select($waiting, undef, undef, @late ? 0 : 0.1) <= 0) {
        select(undef, undef, undef, 0.02);
        next;
    }
    sysread($disk, my $request, 1 << 17) or last;
    if (-e 'slow') {
        push @late, [time() + 0.35, $request];
    } else {
        respond($request);
    }
}
