import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.ScramCredentialInfo;
import org.apache.kafka.clients.admin.ScramMechanism;
import org.apache.kafka.clients.admin.UserScramCredentialAlteration;
import org.apache.kafka.clients.admin.UserScramCredentialUpsertion;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclBindingFilter;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * Makes users and gives and takes rights, by lines of the standard input: `user NAME PASSWORD`, and
 * `allow USER TYPE NAME PATTERN OPERATION` or `take` with the same. The argument is the internal listener.
 */
public class Grant {
    public static void main(String[] arguments) throws Exception {
        List<UserScramCredentialAlteration> users = new ArrayList<>();
        List<AclBinding> allowed = new ArrayList<>();
        List<AclBindingFilter> taken = new ArrayList<>();
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String[] words = line.trim().split(" ");
            switch (words[0]) {
                case "user" -> users.add(new UserScramCredentialUpsertion(
                        words[1], new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), words[2]));
                case "allow" -> allowed.add(binding(words));
                case "take" -> taken.add(binding(words).toFilter());
                default -> throw new IllegalArgumentException(line);
            }
        }
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", arguments[0]))) {
            if (!users.isEmpty()) admin.alterUserScramCredentials(users).all().get();
            if (!allowed.isEmpty()) admin.createAcls(allowed).all().get();
            if (!taken.isEmpty() && admin.deleteAcls(taken).all().get().size() != taken.size()) {
                throw new IllegalStateException("a right that is to be taken was not there");
            }
        }
    }

    private static AclBinding binding(String[] words) {
        ResourcePattern resource = new ResourcePattern(
                ResourceType.fromString(words[2]), words[3],
                words[4].equals("prefix") ? PatternType.PREFIXED : PatternType.LITERAL);
        return new AclBinding(resource, new AccessControlEntry(
                "User:" + words[1], "*", operation(words[5]), AclPermissionType.ALLOW));
    }

    /** Strimzi writes `DescribeConfigs`, Kafka `DESCRIBE_CONFIGS`. */
    private static AclOperation operation(String name) {
        return AclOperation.fromString(name.replaceAll("(?<=[a-z])(?=[A-Z])", "_"));
    }
}
