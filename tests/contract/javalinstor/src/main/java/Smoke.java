import com.linbit.linstor.api.ApiClient;
import com.linbit.linstor.api.ApiException;
import com.linbit.linstor.api.Configuration;
import com.linbit.linstor.api.DevelopersApi;
import com.linbit.linstor.api.model.ApiCallRcList;
import com.linbit.linstor.api.model.AutoSelectFilter;
import com.linbit.linstor.api.model.NetInterface;
import com.linbit.linstor.api.model.Node;
import com.linbit.linstor.api.model.Properties;
import com.linbit.linstor.api.model.ProviderKind;
import com.linbit.linstor.api.model.ResourceConnection;
import com.linbit.linstor.api.model.ResourceConnectionModify;
import com.linbit.linstor.api.model.ResourceDefinition;
import com.linbit.linstor.api.model.ResourceDefinitionCloneRequest;
import com.linbit.linstor.api.model.ResourceDefinitionCloneStarted;
import com.linbit.linstor.api.model.ResourceDefinitionCloneStatus;
import com.linbit.linstor.api.model.ResourceDefinitionCreate;
import com.linbit.linstor.api.model.ResourceDefinitionModify;
import com.linbit.linstor.api.model.ResourceGroup;
import com.linbit.linstor.api.model.ResourceGroupSpawn;
import com.linbit.linstor.api.model.ResourceMakeAvailable;
import com.linbit.linstor.api.model.ResourceWithVolumes;
import com.linbit.linstor.api.model.Snapshot;
import com.linbit.linstor.api.model.SnapshotRestore;
import com.linbit.linstor.api.model.StoragePool;
import com.linbit.linstor.api.model.VolumeDefinitionModify;
import com.linbit.linstor.api.model.VolumeGroup;
import java.util.Collections;
import java.util.List;
import java.util.concurrent.locks.LockSupport;

/**
 * The calls of CloudStack's storage plug-in against a controller with three nodes' satellites at 10.99.0.11 to 13.
 * Prints each step and exits with 1 when one of them went wrong.
 */
public final class Smoke {
    private static boolean failed = false;

    private Smoke() {
    }

    private static void check(String step, ApiCallRcList entries) {
        expect(step, !entries.hasError());
    }

    private static void expect(String step, boolean found) {
        failed |= !found;
        System.out.println((found ? "ok " : "FAILED ") + step);
    }

    private interface Question {
        boolean ask() throws ApiException;
    }

    /** Asks until it is so, for at most half a minute. */
    private static void eventually(String step, Question question) throws ApiException {
        long late = System.nanoTime() + 30_000_000_000L;
        boolean found = question.ask();
        while (!found && System.nanoTime() < late) {
            LockSupport.parkNanos(20_000_000L);
            found = question.ask();
        }
        expect(step, found);
    }

    /** Whether all disks of a resource are up to date; clients have none. */
    private static boolean ready(DevelopersApi api, String name, int disks) throws ApiException {
        List<String> all = Collections.emptyList();
        List<String> one = Collections.singletonList(name);
        int found = 0;
        for (ResourceWithVolumes each : api.viewResources(all, one, all, all, null, null)) {
            boolean told = !each.getVolumes().isEmpty() && each.getVolumes().get(0).getState() != null;
            found += told && "UpToDate".equals(each.getVolumes().get(0).getState().getDiskState()) ? 1 : 0;
        }
        return found == disks;
    }

    private static void nodes(DevelopersApi api) throws ApiException {
        for (int i = 1; i <= 3; i++) {
            NetInterface link = new NetInterface();
            link.setName("default");
            link.setAddress("10.99.0.1" + i);
            link.setSatellitePort(3366);
            link.setSatelliteEncryptionType(NetInterface.SatelliteEncryptionTypeEnum.PLAIN);
            Node node = new Node();
            node.setName("n" + i);
            node.setType(Node.TypeEnum.SATELLITE);
            node.setNetInterfaces(Collections.singletonList(link));
            check("create node", api.nodeAdd(node));
            StoragePool pool = new StoragePool();
            pool.setStoragePoolName("pthin");
            pool.setProviderKind(ProviderKind.FILE_THIN);
            pool.setProps(new Properties());
            pool.getProps().put("StorDriver/FileDir", "/srv/recorded/pools/n" + i + "/thin");
            check("create pool", api.nodeStoragePoolCreate("n" + i, pool));
        }
        expect("three nodes", api.nodeList(null, null, 0, 0).size() == 3);
        List<String> all = Collections.emptyList();
        expect("six pools", api.viewStoragePools(all, all, null, null, null, true).size() == 6);
    }

    private static void volumes(DevelopersApi api) throws ApiException {
        AutoSelectFilter filter = new AutoSelectFilter();
        filter.setPlaceCount(2);
        ResourceGroup group = new ResourceGroup();
        group.setName("cs");
        group.setSelectFilter(filter);
        check("create group", api.resourceGroupCreate(group));
        check("create volume group", api.volumeGroupCreate("cs", new VolumeGroup()));
        ResourceGroupSpawn spawn = new ResourceGroupSpawn();
        spawn.setResourceDefinitionName("cs-1");
        spawn.addVolumeSizesItem(65536L);
        check("spawn", api.resourceGroupSpawn("cs", spawn));
        List<String> all = Collections.emptyList();
        List<String> one = Collections.singletonList("cs-1");
        List<ResourceWithVolumes> view = api.viewResources(all, one, all, all, null, null);
        expect("two replicas and a tie-breaker", view.size() == 3);
        for (ResourceWithVolumes each : view) {
            expect("a device", each.getVolumes().get(0).getDevicePath().startsWith("/dev/drbd"));
            expect("not in use", !each.getState().isInUse());
        }
        expect("one volume definition",
            api.resourceDefinitionList(one, true, null, null, null).get(0).getVolumeDefinitions().size() == 1);
        ResourceMakeAvailable available = new ResourceMakeAvailable().diskful(false);
        check("make available", api.resourceMakeAvailableOnNode("cs-1", "n1", available));
        VolumeDefinitionModify larger = new VolumeDefinitionModify();
        larger.setSizeKib(131072L);
        check("grow", api.volumeDefinitionModify("cs-1", 0, larger));
        ResourceDefinitionModify change = new ResourceDefinitionModify();
        change.setOverrideProps(new Properties());
        change.getOverrideProps().put("DrbdOptions/Net/allow-two-primaries", "yes");
        check("change definition", api.resourceDefinitionModify("cs-1", change));
    }

    /** A migration's two primaries, on the connection of two nodes alone. */
    private static void connections(DevelopersApi api) throws ApiException {
        ResourceConnectionModify both = new ResourceConnectionModify();
        both.setOverrideProps(new Properties());
        both.getOverrideProps().put("DrbdOptions/Net/allow-two-primaries", "yes");
        both.getOverrideProps().put("DrbdOptions/Net/protocol", "C");
        check("change connection", api.resourceConnectionModify("cs-1", "n1", "n2", both));
        List<ResourceConnection> found = api.resourceConnectionsList("cs-1");
        expect("three connections", found.size() == 3);
        expect("two primaries", "yes".equals(props(found, "n1", "n2").get("DrbdOptions/Net/allow-two-primaries")));
        ResourceConnectionModify again = new ResourceConnectionModify();
        again.addDeletePropsItem("DrbdOptions/Net/allow-two-primaries");
        again.addDeletePropsItem("DrbdOptions/Net/protocol");
        check("change it back", api.resourceConnectionModify("cs-1", "n1", "n2", again));
        expect("one primary", props(api.resourceConnectionsList("cs-1"), "n1", "n2").isEmpty());
    }

    private static Properties props(List<ResourceConnection> all, String one, String other) {
        for (ResourceConnection each : all) {
            if (each.getNodeA().equalsIgnoreCase(one) && each.getNodeB().equalsIgnoreCase(other)) {
                return each.getProps() == null ? new Properties() : each.getProps();
            }
        }
        return new Properties();
    }

    private static void snapshots(DevelopersApi api) throws ApiException {
        Snapshot wanted = new Snapshot();
        wanted.setName("cs-snap");
        check("take snapshot", api.resourceSnapshotCreate("cs-1", wanted));
        eventually("the snapshot is there", () ->
            Collections.singletonList("SUCCESSFUL").equals(api.resourceSnapshotList("cs-1", "cs-snap").getFlags()));
        Snapshot taken = api.resourceSnapshotsList("cs-1").get(0);
        expect("its size", taken.getVolumeDefinitions().get(0).getSizeKib() == 131072L);
        List<String> one = Collections.singletonList("cs-1");
        expect("one in the view", api.viewSnapshots(Collections.emptyList(), one, null, null).size() == 1);
        try {
            expect("taken again", api.resourceSnapshotCreate("cs-1", wanted).hasError());
        } catch (ApiException refused) {
            expect("taken again", refused.getCode() == 500);
        }
        ResourceDefinition definition = new ResourceDefinition();
        definition.setName("cs-2");
        definition.setResourceGroupName("cs");
        ResourceDefinitionCreate create = new ResourceDefinitionCreate();
        create.setResourceDefinition(definition);
        check("define what is restored", api.resourceDefinitionCreate(create));
        SnapshotRestore restore = new SnapshotRestore();
        restore.setToResource("cs-2");
        check("restore volume definitions", api.resourceSnapshotsRestoreVolumeDefinition("cs-1", "cs-snap", restore));
        check("restore resources", api.resourceSnapshotRestore("cs-1", "cs-snap", restore));
        eventually("what was restored is ready", () -> ready(api, "cs-2", taken.getNodes().size()));
        check("delete what was restored", api.resourceDefinitionDelete("cs-2"));
        check("roll back", api.resourceSnapshotRollback("cs-1", "cs-snap"));
        eventually("it is ready again", () -> ready(api, "cs-1", taken.getNodes().size()));
        check("delete snapshot", api.resourceSnapshotDelete("cs-1", "cs-snap", Collections.emptyList()));
        eventually("the snapshot is gone", () -> api.resourceSnapshotsList("cs-1").isEmpty());
    }

    private static void clones(DevelopersApi api) throws ApiException {
        ResourceDefinitionCloneRequest wanted = new ResourceDefinitionCloneRequest();
        wanted.setName("cs-3");
        ResourceDefinitionCloneStarted started = api.resourceDefinitionClone("cs-1", wanted);
        check("clone", started.getMessages());
        expect("its name", started.getCloneName().equals("cs-3") && started.getSourceName().equals("cs-1"));
        eventually("the clone is complete", () ->
            api.resourceDefinitionCloneStatus("cs-1", "cs-3").getStatus()
                == ResourceDefinitionCloneStatus.StatusEnum.COMPLETE);
        eventually("the clone is ready", () -> ready(api, "cs-3", 2));
        check("delete clone", api.resourceDefinitionDelete("cs-3"));
    }

    private static void clear(DevelopersApi api) throws ApiException {
        check("delete resource", api.resourceDelete("cs-1", "n1", true));
        check("delete definition", api.resourceDefinitionDelete("cs-1"));
        check("delete group", api.resourceGroupDelete("cs"));
        try {
            expect("a wrong name is refused", api.resourceGroupDelete("no such name").hasError());
        } catch (ApiException refused) {
            expect("a wrong name is refused", refused.getCode() == 500);
        }
    }

    public static void main(String[] arguments) throws ApiException {
        ApiClient client = Configuration.getDefaultApiClient();
        client.setBasePath(arguments[0]);
        DevelopersApi api = new DevelopersApi(client);
        expect("version", api.controllerVersion().getRestApiVersion().equals("1.28.0"));
        nodes(api);
        volumes(api);
        connections(api);
        snapshots(api);
        clones(api);
        clear(api);
        System.exit(failed ? 1 : 0);
    }
}
